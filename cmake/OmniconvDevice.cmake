# Resolves OMNICONV_DEVICE to cpu or cuda and finds what that device needs.
#
# Result: OMNICONV_CUDA (ON/OFF) and the interface target omniconv_device with its flags and libraries.

if(OMNICONV_DEVICE STREQUAL "auto")
  find_program(NVIDIA_SMI nvidia-smi)
  set(OMNICONV_CUDA OFF)
  if(NVIDIA_SMI)
    execute_process(COMMAND ${NVIDIA_SMI} -L RESULT_VARIABLE no_gpu OUTPUT_QUIET ERROR_QUIET)
    if(no_gpu EQUAL 0)
      set(OMNICONV_CUDA ON)
    endif()
  endif()
elseif(OMNICONV_DEVICE STREQUAL "cuda")
  set(OMNICONV_CUDA ON)
elseif(OMNICONV_DEVICE STREQUAL "cpu")
  set(OMNICONV_CUDA OFF)
else()
  message(FATAL_ERROR "OMNICONV_DEVICE: expected cpu, cuda or auto, got '${OMNICONV_DEVICE}'")
endif()

add_library(omniconv_device INTERFACE)
set_target_properties(omniconv_device PROPERTIES EXPORT_NAME device)
target_compile_features(omniconv_device INTERFACE cxx_std_20)
# How omniconv itself is compiled is no business of programs that use the installed package.
target_compile_options(omniconv_device INTERFACE
  $<BUILD_INTERFACE:$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra>>)

if(OMNICONV_SANITIZE)
  target_compile_options(omniconv_device INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${OMNICONV_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>)
  # Under sanitizers GCC 12 warns wrongly of std::function members in the standard library's headers.
  target_compile_options(omniconv_device INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>)
  target_link_options(omniconv_device INTERFACE -fsanitize=${OMNICONV_SANITIZE})
endif()

if(OMNICONV_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90)
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know that nvcc has C++20. (And only behind enable_language may the dialect be set at all.)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  # One runtime in the program: nvcc would link the static one beside the shared one that the libraries come with.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  find_package(CUDAToolkit REQUIRED)
  # cuDNN lies in the toolkit, in a system folder, or in a Python wheel (CUDNN_ROOT).
  find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDNN_ROOT} $ENV{CUDNN_ROOT} ${CUDAToolkit_INCLUDE_DIRS}
            PATH_SUFFIXES include)
  find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDNN_ROOT} $ENV{CUDNN_ROOT} ${CUDAToolkit_LIBRARY_DIR}
               PATH_SUFFIXES lib lib64)
  if(NOT CUDNN_INCLUDE_DIR OR NOT CUDNN_LIBRARY)
    message(FATAL_ERROR "cuDNN 9 was not found: install it, or name its folder with -DCUDNN_ROOT=...")
  endif()
  target_include_directories(omniconv_device SYSTEM INTERFACE ${CUDNN_INCLUDE_DIR})
  target_compile_definitions(omniconv_device INTERFACE OMNICONV_CUDA=1)
  target_compile_options(omniconv_device INTERFACE
    $<BUILD_INTERFACE:$<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda;--expt-relaxed-constexpr;-Xcompiler=-Wall,-Wextra>>)
  # Loaded when it is first needed (engine/library/cudnn_cuda.h).
  target_compile_definitions(omniconv_device INTERFACE $<BUILD_INTERFACE:OMNICONV_CUDNN_LIBRARY="${CUDNN_LIBRARY}">)
  target_link_libraries(omniconv_device INTERFACE CUDA::cudart CUDA::cublas ${CMAKE_DL_LIBS})
else()
  find_package(Boost 1.71 REQUIRED COMPONENTS context)
  find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp REQUIRED)
  find_library(DNNL_LIBRARY dnnl REQUIRED)
  target_include_directories(omniconv_device SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
  target_compile_definitions(omniconv_device INTERFACE OMNICONV_CUDA=0)
  if(OMNICONV_NATIVE)
    # GCC prefers 256-bit vectors on some processors that have wider ones.
    include(CheckCXXCompilerFlag)
    target_compile_options(omniconv_device INTERFACE $<BUILD_INTERFACE:-march=native>)
    check_cxx_compiler_flag(-mprefer-vector-width=512 OMNICONV_HAS_VECTOR_WIDTH)
    if(OMNICONV_HAS_VECTOR_WIDTH)
      target_compile_options(omniconv_device INTERFACE $<BUILD_INTERFACE:-mprefer-vector-width=512>)
    endif()
  endif()
  target_link_libraries(omniconv_device INTERFACE Boost::context ${DNNL_LIBRARY})
endif()

# A product and a sum may be fused or not depending on the compiler's mood; results must not depend on it between
# builds of one configuration, so the choice is left at the compiler's default for the target and never relaxed
# further (no -ffast-math).
if(OMNICONV_CUDA)
  message(STATUS "omniconv: building for cuda")
else()
  message(STATUS "omniconv: building for cpu")
endif()
