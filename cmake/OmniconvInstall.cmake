# What `cmake --install` puts in place: the program, the libraries with their headers, and a package that
# find_package(omniconv) finds, with a target omniconv::FOLDER for each folder.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

function(omniconv_install)
  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/omniconv)
  install(TARGETS omniconv_device ${ARGN} EXPORT omniconv ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(TARGETS omniconv RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  foreach(folder ${ARGN})
    install(DIRECTORY ${CMAKE_SOURCE_DIR}/${folder} DESTINATION include/omniconv FILES_MATCHING PATTERN "*.h")
  endforeach()
  install(EXPORT omniconv NAMESPACE omniconv:: FILE omniconvTargets.cmake DESTINATION ${package})
  configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/omniconvConfig.cmake.in omniconvConfig.cmake
                                INSTALL_DESTINATION ${package})
  write_basic_package_version_file(omniconvConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/omniconvConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/omniconvConfigVersion.cmake
          DESTINATION ${package})
endfunction()
