/* A program on this machine. */
#include <stdio.h>

#include "machine.h"

void text(const char *words) { fputs(words, stdout); }
