/* What chip and desk print alike. */
#include "machine.h"

REPORT void number(uint32_t value) {
  char digits[12] = "           ";
  char *digit = digits + 10;
  do {
    digit -= 1;
    *digit = (char)('0' + value % 10);
    value /= 10;
  } while (value > 0);
  text(digit);
}

REPORT void bits(uint32_t value) {
  char digits[10] = "         ";
  for (int place = 7; place >= 0; place -= 1, value >>= 4)
    digits[place] = "0123456789abcdef"[value & 15];
  text(digits);
}

REPORT uint32_t bits_of(float value) {
  union {
    float value;
    uint32_t bits;
  } number = {value};
  return number.bits;
}
