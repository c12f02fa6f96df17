// What the sanitizers do in our programs, linked into each: the environment would not do, since a keeper starts without
// one. Reports go to files, since a keeper's stderr goes nowhere; ./test fails when there is one.

#include <stdio.h>
#include <unistd.h>

// With the program's name: one that is killed as it begins to write leaves an empty file.
#define REPORTS "log_exe_name=1:log_path=" EBB_SANITIZER_REPORTS "/report:"

const char* __asan_default_options(void);
const char* __ubsan_default_options(void);
const char* __tsan_default_options(void);
void __ubsan_on_report(void);
__attribute__((weak)) void __ubsan_get_current_report_data(const char** kind, const char** message, const char** file,
                                                           unsigned* line, unsigned* column, char** address);

const char* __asan_default_options(void) {
  return REPORTS "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1";
}
const char* __ubsan_default_options(void) { return "print_stacktrace=1"; }
const char* __tsan_default_options(void) { return REPORTS "halt_on_error=1:second_deadlock_stack=1"; }

// Beside AddressSanitizer, UBSan's run-time library ignores log_path.
void __ubsan_on_report(void) {
  const char *kind = "", *message = "", *file = "";
  unsigned line = 0, column = 0;
  char *address = NULL, path[512];
  __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &address);
  snprintf(path, sizeof path, EBB_SANITIZER_REPORTS "/undefined.%d", (int)getpid());
  FILE* report = fopen(path, "a");
  if (report == NULL) return;
  fprintf(report, "%s:%u:%u: %s: %s\n", file, line, column, kind, message);
  fclose(report);
}

#ifdef __SANITIZE_THREAD__
// Threads that have one exception let go of it by a count in libstdc++, which is not compiled with the sanitizer: the last
// one, which frees it, would look as if it did not know that the others have read it. So that all know, these calls of
// our programs are wrapped (EbbOptions.cmake).
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __real___cxa_end_catch(void);
void __wrap___cxa_end_catch(void);
void __real__ZNSt15__exception_ptr13exception_ptr10_M_releaseEv(void* exception);
void __wrap__ZNSt15__exception_ptr13exception_ptr10_M_releaseEv(void* exception);

static void let_go(void) {
  static char counts;
  __tsan_release(&counts);
  __tsan_acquire(&counts);
}
void __wrap___cxa_end_catch(void) {
  let_go();
  __real___cxa_end_catch();
}
void __wrap__ZNSt15__exception_ptr13exception_ptr10_M_releaseEv(void* exception) {
  let_go();
  __real__ZNSt15__exception_ptr13exception_ptr10_M_releaseEv(exception);
}
#endif
