"""The LLVM engine: a program becomes native code, through llvmlite, which is imported when it first compiles one."""
