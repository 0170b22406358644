/*
 * boot.S - entry, notes for Xen's builder, traps, guarded calls, and the code that runs in user mode.
 */
#include "abi.h"

	.macro note type, kind, value:vararg
	.pushsection .note.Xen, "a", @note
	.balign 4
	.long 4, 2f - 1f, \type
	.asciz "Xen"
1:	\kind \value
2:	.balign 4
	.popsection
	.endm

	note 6, .asciz, "oracle"
	note 8, .asciz, "generic"
	note 5, .asciz, "xen-3.0"
	note 3, .quad, VIRT_BASE
	note 4, .quad, 0
	note 1, .quad, _start
	note 2, .quad, hypercall_page
	note 10, .asciz, "!writable_page_tables"
	note 9, .asciz, "yes"

	.text
	.globl _start, hypercall_page
_start:
	cld
	lea	boot_stack_top(%rip), %rsp
	mov	%rsi, %rdi
	xor	%ebp, %ebp
	call	guest_main
1:	jmp	1b

	.balign PAGE_SIZE
hypercall_page:
	.skip	PAGE_SIZE

/* ---- guarded calls: any trap inside ends the call ------------------------------------------------------------------ */

/* int guarded(void *function, u64 a, u64 b, u64 c, u64 *value_ret): 0, or 1 after a trap, described in `trap` */
	.globl	guarded
guarded:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%r8
	mov	%rsp, guard_sp(%rip)
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	call	*%rax
	mov	(%rsp), %r8
	mov	%rax, (%r8)
	xor	%eax, %eax
	jmp	leave_guard

/* int user_call(u64 rip, u64 a, u64 b, u64 c, u64 *value_ret): the same in user mode, which comes back by syscall */
	.globl	user_call
user_call:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%r8
	mov	%rsp, guard_sp(%rip)
	pushq	$FLAT_SS
	pushq	$0
	pushq	$2
	pushq	$FLAT_CS
	push	%rdi
	pushq	$0
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	jmp	HYPERCALL_STUB(HC_iret)

/* int iret_call(u64 rip, u64 cs, u64 ss, u64 rflags, u64 *value_ret, u64 flags): iret with a frame of the caller's, whose
 * stack is this one; comes back by a trap */
	.globl	iret_call
iret_call:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%r8
	mov	%rsp, guard_sp(%rip)
	mov	%rsp, %rax
	push	%rdx
	push	%rax
	push	%rcx
	push	%rsi
	push	%rdi
	push	%r9
	jmp	HYPERCALL_STUB(HC_iret)

/* Where a trap handler goes: back to the caller of guarded or user_call, as if it had returned 1. */
	.globl	abandon
abandon:
	mov	guard_sp(%rip), %rsp
	mov	$1, %eax
leave_guard:
	movq	$0, guard_sp(%rip)
	pop	%r8
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.globl	syscall_entry, failsafe_entry, event_entry
syscall_entry:
	mov	guard_sp(%rip), %rcx
	mov	(%rcx), %rcx
	mov	%rax, (%rcx)
	mov	%rsp, %rdi
	mov	$VECTOR_SYSCALL, %esi
	xor	%edx, %edx
	jmp	on_trap
failsafe_entry:
	mov	%rsp, %rdi
	mov	$0x200, %esi
	xor	%edx, %edx
	jmp	on_trap
/* A program has made an event pending in Xen's shared page, where nothing else does: taken back, and no matter. */
event_entry:
	movw	$EVENTS_MASKED, shared_info_page(%rip)
	pop	%rcx
	pop	%r11
	andq	$~RFLAGS_IF, 16(%rsp)
	pushq	$0
	jmp	HYPERCALL_STUB(HC_iret)

/* Sixteen bytes for each vector. */
	.balign	16
	.globl	trap_entries
trap_entries:
	.set	vector, 0
	.rept	32
	.balign	16
	mov	%rsp, %rdi
	mov	$vector, %esi
	jmp	trap_common
	.set	vector, vector + 1
	.endr
trap_common:
	/* these push an error code */
	mov	$0x40227d00, %edx
	bt	%esi, %edx
	mov	$0, %edx
	adc	$0, %edx
	jmp	on_trap

/* ---- accesses: the same text in kernel mode and, copied to a page of its own, in user mode ------------------------
 *
 * A program may have an LDT where that page is.  Xen sets the privilege level of every present descriptor of a page that
 * it takes for one, so bit 47 of each word of eight bytes has to be clear (guest.c looks): hence a nop, and a long zero.
 */

	.macro	access name
	.balign	16
	.globl	access_\name
access_\name:
	.endm

	.balign	64
	.globl	access_start, access_end
access_start:
access load1
	movzbl	(%rdi), %eax
	jmp	access_done
access load2
	movzwl	(%rdi), %eax
	jmp	access_done
access load4
	movl	(%rdi), %eax
	jmp	access_done
access load8
	movq	(%rdi), %rax
	jmp	access_done
access store1
	movb	%sil, (%rdi)
	jmp	access_done
access store2
	movw	%si, (%rdi)
	jmp	access_done
access store4
	movl	%esi, (%rdi)
	jmp	access_done
access store8
	movq	%rsi, (%rdi)
	jmp	access_done
access cmpxchg1
	mov	%rdx, %rax
	lock cmpxchgb %sil, (%rdi)
	movzbl	%al, %eax
	jmp	access_done
access cmpxchg2
	mov	%rdx, %rax
	lock cmpxchgw %si, (%rdi)
	movzwl	%ax, %eax
	jmp	access_done
access cmpxchg4
	nop
	mov	%rdx, %rax
	lock cmpxchgl %esi, (%rdi)
	mov	%eax, %eax
	jmp	access_done
access cmpxchg8
	mov	%rdx, %rax
	lock cmpxchgq %rsi, (%rdi)
	jmp	access_done
access selector
	mov	%edi, %fs
	mov	$0, %eax
	mov	%eax, %fs
	jmp	access_done
access number
	mov	%rdi, %rax
	jmp	access_done
access fetch
	jmp	*%rdi
access_done:
	cmpb	$0, access_in_user(%rip)
	jne	1f
	ret
1:	syscall
	ud2
access_in_user:
	.byte	0
	.globl	access_in_user
access_end:

	.bss
	.globl	guard_sp
	.balign	PAGE_SIZE
	.skip	4 * PAGE_SIZE
boot_stack_top:
	.globl	trap_stack_top
	.skip	2 * PAGE_SIZE
trap_stack_top:
guard_sp:
	.quad	0
	.section .note.GNU-stack, "", @progbits
