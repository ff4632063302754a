/* The digits, in a section of their own: data is not code. */
  .section .samples, "a"
  .global samples
samples:
  .incbin "../assets/digits.bin"
  .section .note.GNU-stack, "", %progbits
