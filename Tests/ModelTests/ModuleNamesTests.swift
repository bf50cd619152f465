import Base
import Foundation
import Model
import Quant
import TestSupport
import Testing

@Suite("target_modules and exclude_modules")
struct ModuleNamesTests {
    private static let fixtures = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures")

    private static func spec(_ name: String) throws -> DecoderSpec {
        let path = fixtures.appendingPathComponent("\(name)/config.json")
        return try DecoderSpec(json: Array(try Data(contentsOf: path)), file: path.path)
    }

    @Test("expressions and exclusions choose the modules that PEFT chooses")
    func peft() throws {
        let url = Self.fixtures.appendingPathComponent("module_choices.json")
        let cases = try JSONValue.parse(Array(Data(contentsOf: url)), file: url.path).array("cases", in: url.path)
        #expect(cases.count >= 12)
        for item in cases {
            let model = try Self.spec(try item.string("model", in: url.path))
            var config = LoRAConfig(targetModules: Projection.parts)
            config.targetPattern = item["target"]?.string
            if let names = item["target"]?.array?.compactMap(\.string) {
                config.targetModules = Set(names.compactMap { Projection(moduleName: $0) })
            }
            config.excludeModules = try item["exclude"].flatMap { value in
                if let names = value.array {
                    return try ModuleNames(names.compactMap(\.string), key: "exclude_modules")
                }
                return try value.string.map { try ModuleNames($0, key: "exclude_modules") }
            }
            try config.requireModules(of: model)
            let got = LoRAAdapter(config: config, for: model).modules.map { model[$0].path }.sorted()
            #expect(got == item["modules"]?.array?.compactMap(\.string), "\(item.serialized())")
        }
    }

    @Test("what chooses nothing, excludes nothing or everything is a usage error with an example of a path")
    func refusals() throws {
        let model = try Self.spec("arch/llama3")
        func error(_ pattern: String?, _ exclude: ModuleNames?) -> String {
            var config = LoRAConfig(targetModules: [.q_proj])
            (config.targetPattern, config.excludeModules) = (pattern, exclude)
            return errorText(.usage) { try config.requireModules(of: model) }
        }
        #expect(
            error("q_proj$", nil).contains(
                "matches no module; their whole paths are like model.layers.0.self_attn.q_proj"))
        #expect(error(nil, .names(["v_proj"])).contains("`exclude_modules` leaves"))
        #expect(error(nil, .pattern(".*")).contains("leaves 0 of the"))
        #expect(
            errorText(.usage) { _ = try ModuleNames("(q", key: "target_modules") }.contains("`target_modules`: '(q'"))
        #expect(errorText(.usage) { _ = try ModuleNames("a,,b", key: "exclude_modules") }.contains("`exclude_modules`"))
        #expect(
            try ModuleNames("q_proj, layers.0.mlp.up_proj", key: "k") == .names(["q_proj", "layers.0.mlp.up_proj"]))
    }
}
