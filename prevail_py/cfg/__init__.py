if __name__ != "prevail_py.cfg":
    raise ImportError("import prevail_py.cfg: the top-level link 'cfg' is there for people to find the package")
