/*
 * isoc23.c - two functions of glibc 2.38 under the names that a C23 compiler gives their calls, for an older glibc.
 * Preloaded where the bochscpu wheel is used.  They differ from C11's only in reading binary numbers ("0b1").
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

unsigned long long __isoc23_strtoull(const char *text, char **end, int base)
{
	return strtoull(text, end, base);
}

int __isoc23_sscanf(const char *text, const char *format, ...)
{
	va_list args;
	int found;

	va_start(args, format);
	found = vsscanf(text, format, args);
	va_end(args);
	return found;
}
