/* The digits and a start for fine-tuning, in a section of their own: data is not code. */
  .section .samples, "a"
  .global samples
samples:
  .incbin "../assets/digits.bin"
  .balign 4
  .global start
start:
  .incbin "../assets/start.bin"
  .section .note.GNU-stack, "", %progbits
