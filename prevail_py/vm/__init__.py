if __name__ != "prevail_py.vm":
    raise ImportError("import prevail_py.vm: the top-level link 'vm' is there for people to find the package")
