if __name__ != "prevail_py.vm":
    raise ImportError("import this package as prevail_py.vm: the top-level link 'vm' is only for people to find it")
