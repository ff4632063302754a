/* Where a Cortex-M begins: paints the stack, clears .bss, switches the floating-point unit on if there is one. */
  .syntax unified
  .thumb
  .section .vectors, "a"
  .word stack_top
  .word reset
  .rept 14
  .word fault
  .endr

  .section .text.reset, "ax"
  .global reset
  .type reset, %function
reset:
  ldr r0, =stack_bottom
  ldr r1, =stack_top
  ldr r2, =0x5AFE57AC
1:
  str r2, [r0], #4
  cmp r0, r1
  blo 1b
  ldr r0, =bss_start
  ldr r1, =bss_end
  movs r2, #0
2:
  cmp r0, r1
  bhs 3f
  str r2, [r0], #4
  b 2b
3:
#ifdef __ARM_FP
  ldr r0, =0xE000ED88
  ldr r1, [r0]
  orr r1, r1, #0xF00000
  str r1, [r0]
  dsb
  isb
#endif
  b run
  .ltorg
