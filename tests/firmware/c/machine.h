/* What a program runs on: chip.c or desk.c. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* ../assets/digits.bin: labels of 160 training and 100 test images, then the images, 64 bytes each. */
extern const uint8_t samples[];
enum { TRAIN = 160, TEST = 100, PIXELS = 64, CLASSES = 10 };

/* The perceptron's parameters after its trial: what fine-tuning starts from. */
extern const float start[];

/* A function that measures or prints: not part of what is measured. */
#ifdef LABEL
#define REPORT __attribute__((section(".report"), noinline))
#else
#define REPORT
#endif

/* Prints. */
void text(const char *words);
/* Prints a number in decimal, and a space. */
void number(uint32_t value);
/* Prints a number's bits in hexadecimal, and a space. */
void bits(uint32_t value);
/* The bits of a float. */
uint32_t bits_of(float value);

#endif
