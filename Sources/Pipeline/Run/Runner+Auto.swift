import Audit
import Base
import Model
import Quant
import Tune

/// The stage that chooses its own dose.
extension Runner {
    /// Removes a mark from the model, and gives the model with the adapter that does it.
    func eraseAutomatically(_ auto: Recipe.AutoStage, _ model: OpenedModel, _ steering: Steering) throws -> OpenedModel
    {
        let (key, keyFile) = try steering.key()
        let output = folder.file(TrainedStage.erase.folder)
        var options = try AutoOptions(setting: auto.setting, key: key)
        (options.data, options.chat, options.budget) = (auto.data, auto.chat, auto.budget)
        (options.seed, options.compute) = (recipe.seed, recipe.compute)
        // What leaves the house is judged by stages of their own.
        options.judges = false
        let inputs: JSONValue = [
            "model": .text(try model.transformer.store.sha256()),
            "adapters": .array(model.adapters.map { .text($0.sha256 ?? "") }),
            "key": .text(sha256Hex(key.json.serialized().utf8)), "setting": .text(auto.setting.rawValue),
            "data": try auto.data.map { .text(try DatasetList($0).sha256()) } ?? .null, "chat": .bool(auto.chat),
            "budget": auto.budget.map { .real($0) } ?? .null, "seed": .integer(Int(clamping: recipe.seed)),
        ]
        let words = commands.auto(auto, on: model, key: keyFile, output: output)
        _ = try stage(.training(.erase), inputs: inputs, commands: words) {
            let work = try AutoErase(try AutoPlan(model, options: options), output: output, resume: true)
            work.interrupt = interrupt
            work.onEvent = { [self] event in
                switch event {
                case .plan(let line): onEvent(.note(line))
                case .phase(let name, let isDone): onEvent(.stage(.phase(name), isDone: isDone))
                case .training(let trainer): onEvent(.training(trainer))
                case .leak(let leak): onEvent(.note(leak.line))
                case .look(let look): onEvent(.note(look.line))
                case .durability: break
                }
            }
            let result = try work.run()
            return ["training": result.training, "auto": result.json.withoutFolder("adapter")]
        }
        return try model.with(adapterPaths: model.adapterPaths + [output])
    }
}
