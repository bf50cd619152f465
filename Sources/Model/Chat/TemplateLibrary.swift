import Base

/// What templates may call, with the arguments that it takes. Everything else is refused by name.
enum TemplateLibrary {
    /// Filters of Jinja 3.1; `tojson` is Transformers'.
    static let filters: [String: TemplateSignature] = [
        "abs": [], "capitalize": [], "count": [], "d": ["default_value?", "boolean?"],
        "default": ["default_value?", "boolean?"], "dictsort": ["case_sensitive?", "by?", "reverse?"], "first": [],
        "float": ["default?"], "int": ["default?", "base?"], "items": [], "join": ["d?", "attribute?"], "last": [],
        "length": [], "list": [], "lower": [], "max": ["case_sensitive?", "attribute?"],
        "min": ["case_sensitive?", "attribute?"], "replace": ["old", "new", "count?"], "reverse": [],
        "round": ["precision?", "method?"], "safe": [], "sort": ["reverse?", "case_sensitive?", "attribute?"],
        "string": [], "sum": ["attribute?", "start?"],
        "tojson": ["ensure_ascii?", "indent?", "separators?", "sort_keys?"], "trim": ["chars?"],
        "unique": ["case_sensitive?", "attribute?"], "upper": [],
    ]

    /// Filters that hand their arguments on to another filter or a test.
    static let selectors: Set<String> = ["map", "reject", "rejectattr", "select", "selectattr"]

    static let tests: [String: TemplateSignature] = [
        "boolean": [], "defined": [], "divisibleby": ["num"], "eq": .unnamed("other"), "equalto": .unnamed("other"),
        "even": [], "false": [], "float": [], "ge": .unnamed("other"), "gt": .unnamed("other"), "in": ["seq"],
        "integer": [], "iterable": [], "le": .unnamed("other"), "lt": .unnamed("other"), "mapping": [],
        "ne": .unnamed("other"), "none": [], "number": [], "odd": [], "sequence": [], "string": [], "true": [],
        "undefined": [],
    ]

    /// The operators that `select` and its kin take in a test's place.
    static let operators = ["==": "eq", "!=": "ne", "<": "lt", ">": "gt", "<=": "le", ">=": "ge"]

    /// Functions; `namespace` and `dict` take any names.
    static let functions: [String: TemplateSignature] = [
        "dict": .unnamed("mapping?"), "namespace": .unnamed("mapping?"), "raise_exception": ["message"],
        "range": .unnamed("start", "stop?", "step?"), "strftime_now": ["format"],
    ]

    static let stringMethods: [String: TemplateSignature] = [
        "capitalize": [], "count": .unnamed("sub"), "endswith": .unnamed("suffix"), "find": .unnamed("sub"),
        "join": .unnamed("iterable"), "lower": [], "lstrip": .unnamed("chars?"), "removeprefix": .unnamed("prefix"),
        "removesuffix": .unnamed("suffix"), "replace": .unnamed("old", "new", "count?"),
        "rsplit": ["sep?", "maxsplit?"], "rstrip": .unnamed("chars?"), "split": ["sep?", "maxsplit?"],
        "startswith": .unnamed("prefix"), "strip": .unnamed("chars?"), "upper": [],
    ]

    static let mappingMethods: [String: TemplateSignature] = [
        "get": .unnamed("key", "default?"), "items": [], "keys": [], "values": [],
    ]

    static let listMethods: [String: TemplateSignature] = [
        "count": .unnamed("value"), "index": .unnamed("value"),
    ]
}
