/* A program on a Cortex-M as QEMU emulates it: semihosting for a console, the stack that was used. */
#include "machine.h"

extern uint32_t stack_bottom, stack_top;
int main(void);
void fault(void);
void run(void);

enum { WRITE_STRING = 0x04, EXIT = 0x18, APPLICATION_EXIT = 0x20026, RUN_TIME_ERROR = 0x20023 };
static const uint32_t PAINT = 0x5AFE57AC;

REPORT static void semihosting(uint32_t operation, const void *parameter) {
  register uint32_t r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = parameter;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

REPORT void text(const char *words) { semihosting(WRITE_STRING, words); }

static void stop(int status) {
  semihosting(EXIT, (const void *)(status == 0 ? APPLICATION_EXIT : RUN_TIME_ERROR));
  for (;;) {
  }
}

/* Where every exception leads. */
void fault(void) { stop(1); }

/* Bytes of stack that were ever written. */
REPORT static uint32_t stack_used(void) {
  const volatile uint32_t *at = &stack_bottom;
  while (at < &stack_top && *at == PAINT)
    at += 1;
  return (uint32_t)((const volatile char *)&stack_top - (const volatile char *)at);
}

/* Where start.S leads. */
void run(void) {
  int status = main();
  text("stack ");
  number(stack_used());
  text("\n");
  stop(status);
}
