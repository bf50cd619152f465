import Base
import Kernels

/// What determines the adapter that a run makes; kept in `OUT/run.json` and compared when a run is resumed.
public struct RunRecord: Sendable, Equatable {
    /// The record as JSON: options, identities of base, parents, data and start, the instruction set, whose order
    /// of additions is part of the result.
    public let json: JSONValue

    /// Reads a record.
    init(json: JSONValue) { self.json = json }

    init(
        options: TrainingOptions, baseSHA256: String, parents: [String], data: EncodedDataset,
        klData: EncodedDataset? = nil, evalData: EncodedDataset? = nil, kernels: KernelContext, initial: String?
    ) {
        let identities: [(key: String, value: JSONValue)] = [
            ("options", options.json()), ("base_sha256", .text(baseSHA256)),
            ("parents", .array(parents.map { .text($0) })), ("data_sha256", .text(data.sha256)),
            ("data_samples", .integer(data.samples.count)), ("kl_sha256", klData.map { .text($0.sha256) } ?? .null),
            ("kl_samples", klData.map { .integer($0.samples.count) } ?? .null),
            ("eval_sha256", evalData.map { .text($0.sha256) } ?? .null),
            ("eval_samples", evalData.map { .integer($0.samples.count) } ?? .null),
            ("initial_sha256", initial.map { .text($0) } ?? .null), ("isa", .text(kernels.isaName)),
        ]
        json = .object(JSONObject(Build.current.fields + identities))
    }

    /// - Throws: a usage error if the run of that record in `path` may not be resumed with this one's arguments.
    func refuse(toResume old: RunRecord, _ path: String) throws {
        guard let difference = difference(from: old) else { return }
        throw MeraserError.usage(
            "`resume` \(path): \(difference); resume with what it began with, or start anew with `overwrite`")
    }

    /// The first thing in which a run that is to be resumed differs, in words; nil if there is none.
    func difference(from old: RunRecord) -> String? {
        let standard = TrainingOptions()
        for key in TrainingKey.all where !key.isOperational {
            let now = json["options"]?[key.name] ?? .null
            // What an older record does not know was as it is by default.
            let then = old.json["options"]?[key.name] ?? key.value(in: standard)
            // A number may come back from the file as an integer.
            if now != then, now.double == nil || now.double != then.double {
                return "`\(key.name)` was \(then.serialized()) and is now \(now.serialized())"
            }
        }
        let identities = [
            ("base_sha256", "the base model"), ("parents", "the stack of adapters below"),
            ("data_sha256", "the data"), ("data_samples", "the number of samples in the data"),
            ("kl_sha256", "the data of `kl_data`"), ("kl_samples", "the number of samples of `kl_data`"),
            ("eval_sha256", "the data of `eval_data`"), ("eval_samples", "the number of samples of `eval_data`"),
            ("initial_sha256", "the adapter to start from"), ("isa", "the instruction set (MERASER_ISA)"),
        ]
        for (key, name) in identities where (json[key] ?? .null) != (old.json[key] ?? .null) {
            func shown(_ value: JSONValue?) -> String { value?.string ?? value?.serialized() ?? "absent" }
            return "\(name) has changed (\(key) was \(shown(old.json[key])), is now \(shown(json[key])))"
        }
        return Build(record: json).obstacle(continuing: Build(record: old.json))
    }
}
