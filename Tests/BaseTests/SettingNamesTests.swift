import Base
import Testing

@Suite struct SettingNamesTests {
    @Test(
        "keys between backquotes become flags, everything else stays",
        arguments: [
            ("`max_length` 5: expected 2 to `stride`", "--max-length 5: expected 2 to --stride"),
            ("no key", "no key"), ("`r`", "--r"), ("", ""), ("``", "``"),
            ("an open `max_length", "an open `max_length"),
            ("`ulimit -v` and `Max`", "`ulimit -v` and `Max`"), ("a`b`c`d", "a--bc`d"),
        ])
    func flags(text: String, spelt: String) {
        #expect(SettingNames.spell(text, SettingNames.flag) == spelt)
    }

    @Test("what is no setting where it is read keeps its key")
    func unknown() {
        #expect(SettingNames.spell("`a` and `b`") { $0 == "a" ? "--a" : nil } == "--a and `b`")
    }

    @Test("within a file keys are quoted as every other key of it")
    func file() {
        let error = MeraserError.usage("`r`: 5").within("c.yml", kind: .badInput)
        #expect(error == .badInput("c.yml: 'r': 5"))
    }
}
