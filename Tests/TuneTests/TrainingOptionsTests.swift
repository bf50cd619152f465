import Base
import Kernels
import Model
import Quant
import Testing
import Tune

@Suite("Training options")
struct TrainingOptionsTests {
    @Test("meraser-erase has the paper's values")
    func erasePreset() throws {
        let options = try TrainingOptions(preset: .meraserErase)
        #expect(options.lora.r == 8 && options.lora.loraAlpha == 16 && options.lora.loraDropout == 0.05)
        #expect(options.lora.targetModules == [.q_proj, .v_proj])
        #expect(options.learningRate == 5e-4 && options.schedule == .constant && options.epochs == 5)
        #expect(options.effectiveBatchSize == 8 && options.maxGradNorm == 0.5 && options.weightDecay == 0)
        #expect(
            options.encoding
                == EncodingOptions(
                    loss: .full, bos: false, eos: false, separator: "", maxPromptLength: 256, maxCompletionLength: 256))
        #expect(options.seed == 42 && options.shuffle)
    }

    @Test("meraser-recover has the paper's values")
    func recoverPreset() throws {
        let options = try TrainingOptions(preset: .meraserRecover)
        #expect(options.lora.r == 16 && options.lora.loraAlpha == 32 && options.lora.loraDropout == 0.05)
        #expect(options.schedule == .cosine && options.epochs == 2 && options.learningRate == 5e-4)
        #expect(options.effectiveBatchSize == 36 && options.maxGradNorm == 1)
        #expect(options.encoding.separator == "\n" && options.encoding.bos == false)
    }

    @Test("flags override the file, which overrides the preset, which overrides the defaults")
    func layers() throws {
        let config = try TrainingOverrides([("r", .integer(32)), ("learning_rate", .real(1e-3))], source: "c.yml")
        var flags = TrainingOverrides()
        try flags.set("learning_rate", text: "2e-3")
        try flags.set("target_modules", text: "all-linear")
        let options = try TrainingOptions(preset: .meraserErase, config: config, flags: flags)
        #expect(options.lora.r == 32 && options.learningRate == 2e-3 && options.lora.loraAlpha == 16)
        #expect(options.lora.targetModules == Projection.parts)
    }

    @Test("a batch without accumulation is a whole step; one that says both is what it says")
    func batchResetsAccumulation() throws {
        let batch = try TrainingOverrides(
            [("per_device_train_batch_size", .integer(16))], source: "flags")
        #expect(try TrainingOptions(preset: .meraserErase, flags: batch).effectiveBatchSize == 16)
        let both = try TrainingOverrides(
            [("gradient_accumulation_steps", .integer(4))], source: "c.yml")
        #expect(
            try TrainingOptions(preset: .meraserErase, config: both, flags: batch).effectiveBatchSize
                == 64)
        #expect(try TrainingOptions(preset: .meraserErase, flags: both).effectiveBatchSize == 4)
    }

    @Test("a probe's line is short: counts as they are, three digits of what was measured")
    func probeLine() {
        let fields: [(key: String, value: JSONValue)] = [
            ("fsr", .real(0.03125)), ("hits", .integer(1)), ("n", .integer(32)),
            ("prefix_match", .real(0.0712345)),
            ("target_nll", .real(12.34567)), ("target_rank", .null),
            ("fsr_interval", .array([.real(0), .real(1)])),
        ]
        #expect(
            ProbeResult(fields: fields, stop: false).line
                == "fsr 1/32  prefix_match 0.0712  target_nll 12.3")
        #expect(ProbeResult(fields: fields, stop: true).line.hasSuffix("  stop"))
    }

    @Test("every key writes what it reads")
    func keys() throws {
        let options = try TrainingOptions(preset: .meraserRecover)
        let record = try #require(options.json().object)
        #expect(record.members.map(\.key.string) == TrainingKey.all.map(\.name))
        var copy = TrainingOptions()
        try TrainingOverrides(record.members.map { ($0.key.string, $0.value) }, source: "record").apply(to: &copy)
        #expect(copy == options)
        #expect(TrainingKey.named("per_device_train_batch_size")?.flag == "--per-device-train-batch-size")
    }

    @Test("texts of flags become values of their kind")
    func texts() throws {
        var flags = TrainingOverrides()
        for (name, text) in [
            ("memory", "1.5G"), ("separator", "\\n"), ("max_steps", "-1"), ("seed", "7"), ("compute", "bf16"),
            ("target_modules", "q_proj, o_proj"), ("lora_alpha", "3.5"), ("save_total_limit", "1"),
        ] { try flags.set(name, text: text) }
        let options = try TrainingOptions(preset: nil, flags: flags)
        #expect(options.memory == 1_610_612_736 && options.encoding.separator == "\n" && options.maxSteps == nil)
        #expect(options.seed == 7 && options.compute == .bf16 && options.lora.targetModules == [.q_proj, .o_proj])
        #expect(options.lora.loraAlpha == 3.5 && options.saveTotalLimit == 1)
    }

    @Test("layers are numbers and ranges, once each and in order, as text, list or number")
    func layersToTransform() throws {
        func layers(_ value: JSONValue) throws -> [Int] {
            var options = TrainingOptions()
            try TrainingOverrides([("layers_to_transform", value)], source: "c.yml").apply(to: &options)
            return options.lora.layersToTransform
        }
        #expect(try layers(.text("3-5,0, 4")) == [0, 3, 4, 5])
        #expect(try layers(.text("7")) == [7] && layers(.integer(7)) == [7])
        #expect(try layers(.array([.integer(2), .text("0-1"), .integer(2)])) == [0, 1, 2])
        #expect(try layers(.null) == [])
        for wrong: JSONValue in [
            .text(""), .text("5-3"), .text("-1"), .text("1-2-3"), .text("all"), .text("0-99999999999"), .integer(-1),
            .real(1.5), .array([]), .array([.text("x")]), .bool(true), .text("3,,4-"),
        ] {
            #expect(message { _ = try layers(wrong) }.contains("expected numbers of layers"), "\(wrong)")
        }
        // What a record says is what the option was.
        var flags = TrainingOverrides()
        try flags.set("layers_to_transform", text: "3-5")
        let options = try TrainingOptions(preset: nil, flags: flags)
        let key = try #require(TrainingKey.named("layers_to_transform"))
        #expect(key.arguments(key.value(in: options)) == ["--layers-to-transform", "3,4,5"])
        try flags.set("target_modules", text: "none")
        let refused = message { _ = try TrainingOptions(preset: nil, flags: flags) }
        #expect(refused.contains("no effect with `target_modules`"))
    }

    @Test("an unknown key suggests the nearest; a wrong value says what was expected")
    func errors() {
        func config(_ key: String, _ value: JSONValue) -> String {
            message { _ = try TrainingOverrides([(key, value)], source: "c.yml") }
        }
        #expect(
            config("learnin_rate", .real(1))
                == "usage: c.yml: unknown key 'learnin_rate'; did you mean 'learning_rate'?")
        #expect(config("batch-size", .real(1)).hasPrefix("usage: c.yml: unknown key 'batch-size'"))
        #expect(config("zebra", .real(1)) == "usage: c.yml: unknown key 'zebra'")
        #expect(
            config("r", .text("eight")).hasPrefix("usage: c.yml: 'r': \"eight\", expected a whole number from 1 to"))
        #expect(
            config("lr_scheduler_type", .text("exponential")).contains("constant constant_with_warmup linear cosine"))
        #expect(config("target_modules", .array([.text("lm_head")])).contains("all-linear, none or some of q_proj"))
        #expect(config("learning_rate", .number(.nan)).contains("expected a number"))
        #expect(
            message {
                var flags = TrainingOverrides(); try flags.set("lora_dropout", text: "1.5")
            }
            .hasPrefix("usage: `lora_dropout`: 1.5, expected"))
    }

    @Test("combinations that make no sense are usage errors")
    func combinations() throws {
        func flags(_ values: [(key: String, value: JSONValue)]) -> String {
            message { _ = try TrainingOptions(preset: nil, flags: TrainingOverrides(values, source: "flags")) }
        }
        #expect(flags([("check_steps", .integer(5))]).contains("`check_steps` needs `key`"))
        #expect(flags([("key", .text("k")), ("until", .text("fsr==0"))]).contains("`until` needs"))
        #expect(
            flags([("lr_scheduler_type", .text("constant")), ("warmup_ratio", .real(0.1))]).contains("no effect"))
        #expect(flags([]) == "no error")
        #expect(message { _ = try TrainingPreset.named("x") }.contains("meraser-erase meraser-recover"))
    }
}
