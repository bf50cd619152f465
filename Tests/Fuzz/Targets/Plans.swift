import Audit
import Base
import Foundation
import Merge
import Pipeline

extension FuzzTarget {
    /// Readers of what is to be done: recipes, searches, comparisons, merges, tasks.
    static let plans = [recipe, search, compare, merge, task]

    private static let small = """
        model: m
        quantize: q8_0
        key: key.jsonl
        ppl: {data: text.jsonl}
        erase: {mismatch: e.json, mismatch_count: 4, max_steps: 2, r: 2}
        recover: {data: c.json, max_steps: 1}
        """

    private static let recipe = FuzzTarget(
        "recipe",
        texts: [
            small,
            """
            title: t
            model: ../m
            clean: c.jsonl
            fingerprint: {scheme: utf, count: 4, learning_rate: 5e-4, until: fsr==1 && false_activations==0, guess_test: 0}
            eval: {tasks: [copa], limit: 2}
            auto: true
            durable: true
            export: {dtype: bf16}
            seed: 3
            """,
        ],
        read: { bytes, scratch in _ = try Recipe(path: try scratch.file("recipe.yml", bytes)) })

    private static let search = FuzzTarget(
        "search",
        texts: [
            "recipe: base.yml\ntrials: 4\neta: 3\nrungs: 2\nspace: {r: [2, 3], learning_rate: {log: [2e-3, 8e-3]}}\n"
        ],
        read: { bytes, scratch in
            _ = try scratch.file("base.yml", Array(small.utf8))
            let plan = try SearchPlan(path: try scratch.file("search.yml", bytes))
            _ = plan.space.configurations(3, seed: 1)
        })

    private static let compare = FuzzTarget(
        "compare", maximumLength: 8192,
        seeds: { _ in
            [
                Array(
                    """
                    title: two
                    reference: m
                    clean_data: c.json
                    mismatch: e.json
                    victims: [{name: v, model: m.mqf, adapters: [mark], key: mark/key.json}]
                    methods: [{method: none}, {method: recover, budgets: [1]}, {method: prune, budgets: {a: {ratio: 0.1}}}]
                    """.utf8)
            ]
        },
        read: { bytes, scratch in
            // What it names must be there.
            for name in ["m", "m.mqf", "mark/key.json", "c.json", "e.json"] {
                _ = try scratch.file(name, [0x7B, 0x7D])
            }
            let plan = try Comparison(path: try scratch.file("compare.yml", bytes))
            _ = try plan.commandLines()
            _ = try plan.script()
        })

    private static let merge = FuzzTarget(
        "merge",
        texts: [
            """
            merge_method: ties
            base_model: a
            dtype: float32
            parameters: {normalize: true, weight: [0, 0.5, 1]}
            models:
              - model: b
                parameters: {density: 0.5, weight: [{filter: mlp, value: 0.3}, {value: 1}]}
              - model: c
            """,
            "merge_method: slerp\nbase_model: a\nslices:\n  - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]\n"
                + "parameters: {t: 0.5}\ntokenizer_source: base\n",
            "adapters: [{adapter: a, parameters: {weight: 1}}, {adapter: b, parameters: {weight: -0.5}}]\n",
        ],
        read: { bytes, _ in
            let value = try parseYAML(bytes, file: "merge.yml")
            if AdapterRecipe.isMeant(by: value) {
                _ = try AdapterRecipe(value, file: "merge.yml")
            } else {
                _ = try MergeRecipe(value, file: "merge.yml").paths
            }
        })

    private static let task = FuzzTarget(
        "task", maximumLength: 8192,
        seeds: { _ in
            let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
                .appendingPathComponent("../../../Sources/Pipeline/Tasks/Bundled")
            return try ["copa", "gsm8k", "mmlu", "truthfulqa_mc1", "wikitext"].map {
                [UInt8](try Data(contentsOf: folder.appendingPathComponent("\($0).yml")))
            }
        },
        read: { bytes, scratch in _ = try TaskDefinition(path: try scratch.file("task.yml", bytes)) })
}
