/*
 * rom.S - the whole BIOS: from reset to the guest of tests/oracles/qemu, which lies at 1 MiB with its multiboot header.
 */
	.section .text
	.code16
	.globl _start
_start:
	cli
	lgdtl %cs:(gdt_pointer - _start)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $8, $(0xffff0000 + protected - _start)

	.code32
protected:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	jmp *(0x100000 + 28)

	.balign 8
gdt:
	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word 23
	.long 0xffff0000 + gdt - _start

	.org 0xfff0
	.code16
	jmp _start
	.org 0x10000
