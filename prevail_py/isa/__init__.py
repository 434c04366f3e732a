"""The instruction set: bytes, instructions, text and meaning of eBPF, each a view of the same frozen dataclasses.

::

     bytes --decode--> Instruction <--assemble_text-- text       semantics: what it computes (WordOp)
           <-encode--              --disassemble--->             flow: where control goes next

``instructions`` defines them; ``opcodes`` is the encoding as a table; ``decode`` and ``encode`` are inverse to each
other and refuse everything else; ``disassembler`` writes LLVM's syntax, ``assembler`` reads it (``llvm_syntax``) and
that of the conformance suite (``mnemonic_syntax``).  To add an instruction: a class in ``instructions``, a row in
``opcodes``, then whatever ``assert_never`` and ``tests/isa`` report as missing.
"""
