if __name__ != "prevail_py.cfg":
    raise ImportError("import this package as prevail_py.cfg: the top-level link 'cfg' is only for people to find it")
