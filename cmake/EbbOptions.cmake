# Language level, warnings and sanitizers, the same for every target of the project.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
# The compiler finds and orders headers by itself; C++20 modules are not used.
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)

# "Dev" compiles fast and keeps assertions; CMake's own build types stay as they are.
set(CMAKE_CXX_FLAGS_DEV "-O1 -g1")
set(CMAKE_C_FLAGS_DEV "-O1 -g1")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_C_FLAGS_RELEASE "-O2 -DNDEBUG")

add_compile_options(-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef -Werror
                    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
                    $<$<COMPILE_LANGUAGE:CXX>:-Wold-style-cast>
                    $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
                    -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Memory for time: left to itself, the compiler spends up to a quarter of its time on collecting its garbage.
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:--param ggc-min-heapsize=1000000>"
                      "$<$<COMPILE_LANGUAGE:CXX>:SHELL:--param ggc-min-expand=1000>")
  # g++ 12 takes the allocation of a coroutine's frame by Asio for a mismatch with its deallocation.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-mismatched-new-delete>)
  # Nor does it see, optimizing fully or with a sanitizer's calls in between, which alternative of a variant is alive.
  if(CMAKE_BUILD_TYPE STREQUAL "Release" OR EBB_SANITIZE)
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>)
  endif()
endif()

set(EBB_SANITIZE "" CACHE STRING "Sanitizers for every target, as in -fsanitize=")
# How many times longer than usual a test waits for what must come. What the product promises is not stretched.
set(EBB_PATIENCE 1)
if(EBB_SANITIZE)
  set(EBB_PATIENCE 5)
  add_compile_options(-fsanitize=${EBB_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${EBB_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND EBB_SANITIZE MATCHES thread)
    # g++ warns of Asio's fences, which ThreadSanitizer does not know; what they order is under a mutex too.
    add_compile_options(-Wno-tsan)
  elseif(EBB_SANITIZE MATCHES undefined)
    add_compile_options(-O0)  # optimizing what UBSan puts in takes longer than all the rest
  endif()
  # Anybody's, since programs run as several users.
  file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/reports")
  file(CHMOD "${CMAKE_BINARY_DIR}/reports"
       PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_WRITE GROUP_EXECUTE
                   WORLD_READ WORLD_WRITE WORLD_EXECUTE)
  add_library(ebb_sanitizer_options OBJECT "${CMAKE_CURRENT_LIST_DIR}/sanitizer_options.c")
  target_compile_definitions(ebb_sanitizer_options PRIVATE EBB_SANITIZER_REPORTS="${CMAKE_BINARY_DIR}/reports")
  # EBB_OWN_REPORTS: a program that says on stderr what was found.
  set(is_program "$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>")
  if(EBB_SANITIZE MATCHES thread)
    foreach(call IN ITEMS __cxa_end_catch _ZNSt15__exception_ptr13exception_ptr10_M_releaseEv)
      add_link_options("$<${is_program}:LINKER:--wrap=${call}>")
    endforeach()
  endif()
  set(own_reports "$<BOOL:$<TARGET_PROPERTY:EBB_OWN_REPORTS>>")
  link_libraries(
    "$<$<AND:${is_program},$<NOT:${own_reports}>>:$<TARGET_OBJECTS:ebb_sanitizer_options>>")
endif()

# A compiler cache where there is one: a rebuild after switching branches then costs seconds.
find_program(EBB_CCACHE ccache)
if(EBB_CCACHE)
  # Paths relative to the source tree, so that every checkout shares what one of them compiled.
  set(launcher "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_NOHASHDIR=1
               "CCACHE_SLOPPINESS=pch_defines,time_macros" "${EBB_CCACHE}")
  set(CMAKE_C_COMPILER_LAUNCHER "${launcher}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${launcher}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)  # lets it see through precompiled headers
  endif()
endif()
