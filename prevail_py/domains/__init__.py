if __name__ != "prevail_py.domains":
    raise ImportError("import this package as prevail_py.domains: the top-level link 'domains' is only for people to find it")
