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
  target_include_directories(${name} PUBLIC ${root})
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
