# One target per folder.
#
# Headers are included as "folder/header.h". Each folder gets an include root of its own in the build tree, holding one
# link to the folder, so that a target reaches only the headers of the targets it links: a wrong include does not build.

function(omniconv_include_root folder result)
  string(REPLACE "/" "_" flat ${folder})
  set(root ${CMAKE_BINARY_DIR}/include/${flat})
  get_filename_component(parent ${root}/${folder} DIRECTORY)
  file(MAKE_DIRECTORY ${parent})
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${folder} ${root}/${folder} SYMBOLIC)
  set(${result} ${root} PARENT_SCOPE)
endfunction()

# CUDA sources are compiled by nvcc in a CUDA build and by the host compiler otherwise.
function(omniconv_device_sources)
  if(OMNICONV_CUDA)
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CUDA)
  else()
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
  endif()
endfunction()

# omniconv_library(folder [LINK ...]): the sources of a folder and its sub-folders. A file whose name ends in _cpu or
# _cuda belongs to that device alone.
function(omniconv_library folder)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  get_filename_component(name ${folder} NAME)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cpp ${CMAKE_SOURCE_DIR}/${folder}/*.cu)
  if(OMNICONV_CUDA)
    list(FILTER sources EXCLUDE REGEX "_cpu\\.(cpp|cu)$")
  else()
    list(FILTER sources EXCLUDE REGEX "_cuda\\.(cpp|cu)$")
  endif()
  set(device_sources ${sources})
  list(FILTER device_sources INCLUDE REGEX "\\.cu$")
  if(device_sources)
    omniconv_device_sources(${device_sources})
  endif()
  add_library(${name} STATIC ${sources})
  omniconv_include_root(${folder} root)
  set_target_properties(${name} PROPERTIES OUTPUT_NAME omniconv_${name})
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${root}> $<INSTALL_INTERFACE:include/omniconv>)
  target_link_libraries(${name} PUBLIC omniconv_device PRIVATE OpenMP::OpenMP_CXX)
  if(arg_LINK)
    target_link_libraries(${name} ${arg_LINK})
  endif()
endfunction()

# omniconv_program(name folder [LINK ...]): an executable from the sources that lie directly in a folder.
function(omniconv_program name folder)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources})
  omniconv_include_root(${folder} root)
  target_include_directories(${name} PRIVATE ${root})
  target_link_libraries(${name} PRIVATE ${arg_LINK})
endfunction()

# omniconv_quickly(target): compiles a target that leaves all work to the libraries in half the time, without the
# optimiser.
function(omniconv_quickly target)
  target_compile_options(${target} PRIVATE -O0)
endfunction()

# omniconv_onnx(target): gives a target ONNX's schema, or takes the two files that need it out: the program then says
# what is missing when it is asked to export.
function(omniconv_onnx target)
  find_package(Protobuf QUIET)
  find_package(ONNX CONFIG QUIET)
  set(found 0)
  if(TARGET onnx_proto AND TARGET protobuf::libprotobuf)
    set(found 1)
    target_link_libraries(${target} PRIVATE onnx_proto)
  else()
    get_target_property(sources ${target} SOURCES)
    list(FILTER sources EXCLUDE REGEX "/onnx_(graph|model)\\.cpp$")
    set_target_properties(${target} PROPERTIES SOURCES "${sources}")
    message(STATUS "omniconv: no ONNX export (it needs libonnx-dev and libprotobuf-dev)")
  endif()
  target_compile_definitions(${target} PRIVATE OMNICONV_ONNX=${found})
endfunction()

# omniconv_events(target): gives a target the messages of its event.proto and Boost's checksums, or takes the files that
# need them out: the program then says what is missing when it is asked for event files.
function(omniconv_events target)
  find_package(Protobuf QUIET)
  find_package(Boost 1.71 QUIET)
  set(found 0)
  if(TARGET protobuf::protoc AND TARGET protobuf::libprotobuf AND TARGET Boost::headers)
    set(found 1)
    set(generated ${CMAKE_BINARY_DIR}/generated)
    file(MAKE_DIRECTORY ${generated})
    protobuf_generate(TARGET ${target} LANGUAGE cpp PROTOS ${CMAKE_SOURCE_DIR}/apps/tensorboard/event.proto
                      IMPORT_DIRS ${CMAKE_SOURCE_DIR} PROTOC_OUT_DIR ${generated})
    target_include_directories(${target} PRIVATE ${generated})
    target_link_libraries(${target} PRIVATE protobuf::libprotobuf Boost::headers)
  else()
    get_target_property(sources ${target} SOURCES)
    list(FILTER sources EXCLUDE REGEX "/(record_file|event_file|run_events)\\.cpp$")
    set_target_properties(${target} PROPERTIES SOURCES "${sources}")
    message(STATUS "omniconv: no TensorBoard events (they need protobuf-compiler, libprotobuf-dev and libboost-dev)")
  endif()
  target_compile_definitions(${target} PUBLIC OMNICONV_TENSORBOARD=${found})
endfunction()
