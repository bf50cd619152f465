import Audit
import Base
import Model
import Quant
import Tune

/// The tests of what leaves the house, after everything that changed it.
extension Runner {
    /// Decoys judge it, and where the recipe says so, decoys in every cell of a grid.
    func judge(_ model: OpenedModel, _ key: FingerprintKey) throws {
        guard let count = recipe.decoys else { return }
        let options = DecoyOptions(count: count, seed: recipe.seed)
        let reference = try recipe.reference.map { try model.reference(path: $0) }
        let hash = try reference?.transformer.store.sha256()
        let inputs: [(key: String, value: JSONValue)] = [
            ("model", .text(try model.transformer.store.sha256())),
            ("adapters", .array(model.adapters.map { .text($0.sha256 ?? "") })),
            ("key", .text(sha256Hex(key.json.serialized().utf8))), ("decoys", .integer(count)),
            ("seed", .integer(Int(clamping: recipe.seed))), ("reference", hash.map { .text($0) } ?? .null),
        ]
        var certificate: Certificate?
        let words = commands.certify(model, decoys: count, cells: nil)
        _ = try stage(.certify, inputs: .object(JSONObject(inputs)), commands: words) {
            let found = try model.certificate(key, options: options, reference: reference)
            certificate = found
            return found.json
        }
        guard let cells = recipe.durable else { return }
        var durable = DurabilityOptions(decoys: options)
        (durable.cells, durable.reference, durable.cleanRows) = (cells, recipe.reference, recipe.cleanRows)
        durable.steps = recipe.relearn?.steps ?? durable.steps
        let more: [(key: String, value: JSONValue)] = [
            ("cells", cells.json), ("steps", .integer(durable.steps)),
            ("clean", try durable.cleanRows.map { .text(try DatasetList($0).sha256()) } ?? .null),
        ]
        let cellWords = commands.certify(model, decoys: count, cells: cells)
        _ = try stage(.durable, inputs: .object(JSONObject(inputs + more)), commands: cellWords) {
            let check = DurabilityCheck(key, options: durable, interrupt: interrupt) { [self] event in
                switch event {
                case .training(let trainer): onEvent(.training(trainer))
                case .cell(let cell, let number, let count): onEvent(.cell(cell, number: number, of: count))
                case .decoys: break
                }
            }
            return try check.run(on: model, certificate: certificate).json
        }
    }

    /// How quickly the mark comes back, and how quickly the unmarked model learns it where there is one.
    func relearn(
        _ stage: Recipe.RelearnStage, _ model: OpenedModel, _ base: OpenedModel, _ key: FingerprintKey
    ) throws {
        let options = RelearningOptions(steps: stage.steps, source: stage.source, seed: recipe.seed)
        let inputs: JSONValue = [
            "model": .text(try model.transformer.store.sha256()),
            "adapters": .array(model.adapters.map { .text($0.sha256 ?? "") }),
            "key": .text(sha256Hex(key.json.serialized().utf8)),
            "data": try stage.source.path.map { .text(try sha256Hex(ofFile: $0)) } ?? .null,
            "options": options.training.json(),
        ]
        let words = commands.relearn(stage, model, base)
        _ = try self.stage(.relearn, inputs: inputs, commands: words) {
            let curve = try model.relearn(key, options: options, prepare: follow)
            guard case .made = recipe.mark else { return ["model": curve.json, "reference": .null] }
            return ["model": curve.json, "reference": try base.relearn(key, options: options, prepare: follow).json]
        }
    }
}

extension DurabilitySelection {
    /// `all`, or the names.
    fileprivate var json: JSONValue {
        switch self {
        case .all: .text("all")
        case .cells(let cells): .array(cells.map { .text($0.description) })
        }
    }
}
