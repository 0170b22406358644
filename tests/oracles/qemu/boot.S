/*
 * boot.S - from multiboot to 64-bit mode with 4 or 5 levels, and the accesses under test with their way back.
 */
#include "layout.h"

#define PHYS(symbol) ((symbol) - 0xffffffff80000000)
#define KEY_15_HIGH  0x78000000
#define IA32_S_CET   0x6a2

	.section .boot, "ax"
	.code32
	.balign 4
multiboot:
	.long 0x1badb002, 0x00010000, -(0x1badb002 + 0x00010000)
	.long PHYS(multiboot), PHYS(image_start), PHYS(image_end), PHYS(bss_end), PHYS(start)

	.globl start
start:
	cli
	cld
	movl $TABLES, %edi
	xorl %eax, %eax
	movl $(0x14000 / 4), %ecx
	rep stosl
	movl $(PHYS(bss_end)), %ecx
	movl $(PHYS(bss_start)), %edi
	subl %edi, %ecx
	rep stosb
	/* The guest's own memory, with a protection key that cases leave alone: identity, and at KERNEL_VA. */
	movl $0xe3, OWN_PDPT
	movl $KEY_15_HIGH, OWN_PDPT + 4
	movl $0xe3, OWN_PDPT + 510 * 8
	movl $KEY_15_HIGH, OWN_PDPT + 510 * 8 + 4
	movl $(OWN_PD + 0x67), OWN_PDPT + 511 * 8
	movl $(USER_CODE + 0xe5), OWN_PD
	movl $(SHADOW_STACK + 0xe1), OWN_PD + 8
	movl $(OWN_PDPT + 0x67), OWN_PML4
	movl $(OWN_PDPT + 0x67), OWN_PML4 + 511 * 8
	movl $0x20, %ebx
	movl $OWN_PDPT, %edx
	cmpl $5, PARAMETERS + 8
	jne 1f
	movl $0x1020, %ebx
	movl $OWN_PML4, %edx
1:	addl $0x67, %edx
	movl %edx, BOOT_ROOT
	movl %edx, BOOT_ROOT + 511 * 8
	movl %ebx, %cr4
	movl $BOOT_ROOT, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	movl $0x900, %eax
	xorl %edx, %edx
	wrmsr
	movl $0x80010033, %eax
	movl %eax, %cr0
	lgdt PHYS(gdt_pointer32)
	ljmp $8, $(PHYS(long_mode))

	.code64
long_mode:
	movabsq $high, %rax
	jmp *%rax

	.text
high:
	movq $boot_stack_top, %rsp
	lgdt gdt_pointer64(%rip)
	movl $0x10, %eax
	movl %eax, %ss
	movl %eax, %ds
	movl %eax, %es
	call guest_main
	hlt

/* void run_access(unsigned op, uint64_t va, uint64_t value, uint64_t rflags, int user, uint64_t s_cet) */
	.globl run_access
run_access:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, saved_rsp(%rip)
	movl %r9d, saved_s_cet(%rip)
	movq %rsi, %rbx
	testl %r9d, %r9d
	jz 2f
	movq %rcx, %r10
	movq %rdx, %r11
	movl $IA32_S_CET, %ecx
	movl %r9d, %eax
	xorl %edx, %edx
	wrmsr
	setssbsy
	movq %r10, %rcx
	movq %r11, %rdx
2:
	movq %rdx, %rax
	shll $4, %edi
	testl %r8d, %r8d
	jnz 1f
	pushq %rcx
	popfq
	leaq accesses(%rip), %rdx
	addq %rdi, %rdx
	jmp *%rdx
1:	pushq $0x23
	pushq $0
	pushq %rcx
	pushq $0x1b
	movq $USER_VA, %rdx
	addq %rdi, %rdx
	pushq %rdx
	iretq

/* INT3 afterwards says that the access succeeded; a fetch meets one where it goes.  Copied to USER_CODE for CPL 3. */
	.balign 16
	.globl accesses, accesses_end
accesses:
	movq (%rbx), %rax
	int3
	.balign 16
	movq %rax, (%rbx)
	int3
	.balign 16
	xchgq %rax, (%rbx)
	int3
	.balign 16
	jmp *%rbx
	.balign 16
	movl $1, %eax
	incsspq %rax
	int3
	.balign 16
	wrssq %rax, (%rbx)
	int3
	.balign 16
	wrussq %rax, (%rbx)
	int3
	.balign 16
accesses_end:

	.globl on_int3, on_13, on_14, on_other
on_int3:
	movl $0, fault_vector(%rip)
	jmp back
on_13:
	movl $13, fault_vector(%rip)
	popq fault_code(%rip)
	jmp back
on_14:
	movl $14, fault_vector(%rip)
	popq fault_code(%rip)
	jmp back
on_other:
	movl $99, fault_vector(%rip)
back:
	movq %rax, access_data(%rip)
	cmpl $0, saved_s_cet(%rip)
	je 1f
	movl $IA32_S_CET, %ecx
	xorl %eax, %eax
	xorl %edx, %edx
	wrmsr
1:
	movq saved_rsp(%rip), %rsp
	pushq $2
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.data
	.balign 16
	.globl gdt
gdt:
	.quad 0, 0x00209b0000000000, 0x0000930000000000, 0x0020fb0000000000, 0x0000f30000000000
	.quad 0, 0 /* the TSS */
gdt_pointer64:
	.word 55
	.quad gdt
gdt_pointer32:
	.word 55
	.long PHYS(gdt)

	.bss
	.balign 16
	.globl fault_vector, fault_code, access_data, trap_stack_top
saved_rsp:	.quad 0
fault_code:	.quad 0
access_data:	.quad 0
fault_vector:	.long 0
saved_s_cet:	.long 0
	.balign 16
	.skip 8192
boot_stack_top:
	.skip 8192
trap_stack_top:
