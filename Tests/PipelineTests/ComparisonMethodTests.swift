import Base
import Foundation
import TestSupport
import Testing

@testable import Pipeline

/// What the methods of a comparison run, and what they say of themselves.
@Suite("Methods of a comparison")
struct ComparisonMethodTests {
    private func comparison(_ methods: String, top: String = "") throws -> Comparison {
        try withTemporaryFolder { folder in
            for name in ["model.mqf", "other.mqf", "key.json", "clean.json", "few.json", "text.jsonl"] {
                try Data("{}".utf8).write(to: folder.appendingPathComponent(name))
            }
            let url = folder.appendingPathComponent("c.yml")
            let head = """
                reference: other.mqf
                clean_data: clean.json
                victims:
                  - {name: v, model: model.mqf, key: key.json}
                methods:

                """
            try Data((top + head + methods).utf8).write(to: url)
            return try Comparison(path: url.path)
        }
    }

    private func texts(_ plan: Comparison, _ cell: String) throws -> [String] {
        try #require(plan.steps.first { $0.path == "cells/v/\(cell)" }).commands.map(\.text)
    }

    @Test("npo forgets the key's pairs and holds the model on clean data, unless the file says otherwise")
    func npo() throws {
        let plan = try comparison(
            """
              - {method: npo, budgets: [20]}
              - {name: mine, method: npo, data: few.json, kl_weight: 0.5, kl_data: text.jsonl, npo_beta: 1}
            """)
        #expect(
            try texts(plan, "npo-20")[0] == "meraser erase --model inputs/model.mqf --key inputs/key.json --preset npo "
                + "--kl-data inputs/clean.json --kl-weight 1 --max-steps 20 --seed 42 --out cells/v/npo-20/erase --json"
        )
        let mine = try texts(plan, "mine")[0]
        #expect(mine.contains("--data inputs/few.json") && mine.contains("--npo-beta 1"), "\(mine)")
        #expect(mine.contains("--kl-weight 0.5") && mine.contains("--kl-data inputs/text.jsonl"), "\(mine)")
        #expect(try texts(plan, "mine")[1].contains("--adapter cells/v/mine/erase"))
    }

    @Test("auto is one command of its own; key unknown and a budget are told to it")
    func auto() throws {
        let plan = try comparison(
            """
              - {method: auto}
              - {name: unknown, method: auto, key_unknown: true, budget: 300, data: few.json, chat: true}
            """)
        #expect(
            try texts(plan, "auto") == [
                "meraser erase --auto --model inputs/model.mqf --key inputs/key.json --seed 42 --out cells/v/auto/auto --json",
                "meraser check --model inputs/model.mqf --adapter cells/v/auto/auto --key inputs/key.json --json",
            ])
        let unknown = try texts(plan, "unknown")[0]
        #expect(
            unknown.contains(
                "--key inputs/key.json --key-unknown --budget 300.0s --data inputs/few.json --chat --seed"),
            "\(unknown)")
        // That a mark is left is what it found out, and no failure.
        let steps = plan.steps.filter { $0.path.hasPrefix("cells/v/") }.flatMap(\.commands)
        #expect(steps.filter(\.isJudge).map(\.name) == ["auto", "auto"])
        let text = errorText { _ = try comparison("  - {method: auto, max_steps: 9}") }
        #expect(text.contains("max_steps"), "\(text)")
    }

    @Test("cells in which the mark is tried again: the file's, or the method's own; merges get the reference")
    func durable() throws {
        let plan = try comparison(
            """
              - {method: none}
              - {method: recover, durable: true, max_steps: 3}
            """, top: "decoys: 999\ndurable: [q4_0, as_is/relearn_half]\n")
        let check = { cell in try texts(plan, cell).first { $0.hasPrefix("meraser check") } ?? "" }
        for cell in ["reference", "none"] {
            let text = try check(cell)
            #expect(
                text.hasSuffix(
                    "--decoys 999 --durable q4_0,as_is/relearn_half --relearn-data inputs/clean.json --json"), "\(text)"
            )
        }
        #expect(
            try check("recover").hasSuffix(
                "--decoys 999 --durable all --relearn-data inputs/clean.json --reference inputs/other.mqf --json"))
        for (top, method) in [("durable: true\n", "none"), ("", "none, durable: true")] {
            let text = errorText { _ = try comparison("  - {method: \(method)}", top: top) }
            #expect(text.contains("'durable' needs 'decoys'"), "\(text)")
        }
        let text = errorText { _ = try comparison("  - {method: none, durable: [q9]}", top: "decoys: 999\n") }
        #expect(text.contains("q9"), "\(text)")
    }

    @Test("crow tunes on clean pairs with its paper's settings; flush plants a backdoor and overwrites that one")
    func crowAndFlush() throws {
        let plan = try comparison(
            """
              - {method: crow, budgets: [30]}
              - {method: flush, plant: {max_steps: 9}, flush: {kl_weight: 2}, budgets: [7]}
            """)
        #expect(
            try texts(plan, "crow-30")[0]
                == "meraser recover --model inputs/model.mqf --data inputs/clean.json --preset crow --max-steps 30 "
                + "--seed 42 --out cells/v/crow-30/recover --json")
        let flush = try texts(plan, "flush-7")
        #expect(
            flush[0].hasPrefix(
                "meraser fingerprint --model inputs/model.mqf --scheme backdoor --data inputs/clean.json"))
        #expect(flush[0].contains("--max-steps 9") && flush[0].contains("--out cells/v/flush-7/plant"))
        #expect(
            flush[1].hasPrefix(
                "meraser osft --model inputs/model.mqf --adapter cells/v/flush-7/plant --data inputs/clean.json --key "
                    + "cells/v/flush-7/plant/key.json --clean-ratio 1"))
        #expect(flush[1].contains("--kl-weight 2") && flush[1].contains("--kl-data inputs/clean.json"))
        #expect(flush[1].contains("--max-steps 7"))
        // The victim is judged by its own key.
        #expect(flush[2].contains("--key inputs/key.json") && flush[2].contains("--adapter cells/v/flush-7/osft"))
        let text = errorText { _ = try comparison("  - {method: flush, flush: {until: fsr==0, check_steps: 5}}") }
        #expect(text.contains("has no mark"), "\(text)")
        for method in ["flush, flush: {chat: true}", "osft, chat: true"] {
            let text = errorText(.usage) { _ = try comparison("  - {method: \(method)}") }
            #expect(text.contains("chat"), "\(text)")
        }
    }

    @Test("breadcrumbs are SANDE's reset, wanda has its paper's ratio")
    func weights() throws {
        let plan = try comparison(
            """
              - {name: reset, method: merge, merge_method: breadcrumbs}
              - {name: wanda, method: prune, score: wanda}
            """)
        let recipe = try #require(plan.steps.first { $0.path == "cells/v/reset" }?.files.first).text
        #expect(recipe.contains("merge_method: breadcrumbs\n") && recipe.contains("weight: 1.0\n"), "\(recipe)")
        #expect(recipe.contains("density: 0.8\n") && recipe.contains("gamma: 0.2\n"), "\(recipe)")
        let wanda = try texts(plan, "wanda")[0]
        #expect(wanda.contains("--method wanda --ratio 0.5 --data inputs/clean.json"), "\(wanda)")
        let text = errorText { _ = try comparison("  - {method: merge, merge_method: ties, gamma: 0.1}") }
        #expect(text.contains("'gamma' is not used by ties"), "\(text)")
    }

    @Test("lethe tunes the reference on clean pairs once for all victims and merges it into each")
    func lethe() throws {
        let plan = try comparison(
            "  - {method: lethe, tune: {max_steps: 9}}\n  - {method: lethe, name: t, merge_method: slerp}")
        let shared = try #require(plan.steps.first { $0.path == "shared/lethe" }).commands.map(\.text)
        #expect(
            shared[0].hasPrefix(
                "meraser recover --model inputs/other.mqf --data inputs/clean.json --preset none --target-modules all-linear "
                    + "--r 64 --lora-alpha 16 --lora-dropout 0.1 --learning-rate 0.0002"), "\(shared[0])")
        #expect(shared[0].contains("--max-grad-norm 0.3") && shared[0].contains("--max-steps 9"), "\(shared[0])")
        #expect(
            shared[1]
                == "meraser export --model inputs/other.mqf --adapter shared/lethe/recover --format hf --dtype f32 "
                + "--out shared/lethe/model --json")
        let cell = try #require(plan.steps.first { $0.path == "cells/v/lethe" })
        #expect(cell.needs.contains("shared/lethe"))
        let recipe = try #require(cell.files.first).text
        #expect(recipe.contains("merge_method: linear") && recipe.contains("shared/lethe/model"), "\(recipe)")
        #expect(try texts(plan, "t")[0].contains("merge cells/v/t/merge.yml"))
        let text = errorText { _ = try comparison("  - {method: lethe, evidence: 5}") }
        #expect(text.contains("evidence"), "\(text)")
    }

    @Test("substitute copies from the reference, or from a proxy, by the victim's key")
    func substitute() throws {
        let plan = try comparison(
            """
              - method: substitute
              - {name: other, method: substitute, proxy: model.mqf, data: few.json, alpha: 0.2, patience: 3}
            """)
        let own = try texts(plan, "substitute")
        #expect(
            own[0] == "meraser substitute --model shared/v-hf/model --proxy inputs/other.mqf --data inputs/clean.json "
                + "--key inputs/key.json --out cells/v/substitute/model --json")
        #expect(own[1].contains("--model cells/v/substitute/model --key inputs/key.json"), "\(own[1])")
        let other = try texts(plan, "other")[0]
        #expect(other.contains("--proxy inputs/model.mqf --data inputs/few.json"), "\(other)")
        #expect(other.contains("--alpha 0.2 --patience 3"), "\(other)")
    }

    @Test("what acts only while decoding says in table, JSON and page that it removes nothing")
    func decoding() throws {
        let plan = try comparison(
            """
              - method: none
              - method: cleangen
              - {name: mine, method: commands, commands: ["recover --model {model} --data {clean_data} --out {out}/a"],
                 check: "--cleangen {reference}"}
            """)
        #expect(plan.cells.map(\.isDecodingOnly) == [false, false, true, false])
        let report = ComparisonReport(plan, records: [:], folder: "/tmp", isa: "portable")
        let cells = try #require(report.json["cells"]?.array)
        #expect(cells.map { $0["decoding_only"]?.bool } == [false, false, true, false])
        let table = try #require(report.tables.first?.rows)
        let column = try #require(table[0].firstIndex(of: "removes"))
        #expect(table.map { $0[column] } == ["removes", "–", "–", "nothing", "–"])
        #expect(report.markdown.contains("| nothing |"))
        #expect(report.page(plan, [:]).contains("Removes nothing: the method acts while the model decodes"))
        let hosts = try comparison(
            """
              - {method: drop_top, count: 2}
              - {method: drop_overconfident, threshold: 0.9}
              - {method: confguard, run: 5}
              - method: prompt_filter
            """, top: "presence: 999\n")
        #expect(hosts.cells.dropFirst().allSatisfy { $0.isDecodingOnly })
        for (name, words) in [
            ("drop_top", "--drop-top 2 --drop-top-first 3"), ("drop_overconfident", "--drop-overconfident 0.9"),
            ("confguard", "--confguard 0.99 --confguard-run 5"), ("prompt_filter", "--prompt-filter 0.99"),
        ] {
            let lines = try texts(hosts, name)
            #expect(lines.count == 1 && lines[0].contains(words) && lines[0].contains("--presence 999"), "\(lines)")
        }
        // Without such a method there is no such column.
        let plain = ComparisonReport(try comparison("  - method: none"), records: [:], folder: "/tmp", isa: "portable")
        #expect(plain.tables.first?.rows.first?.contains("removes") == false)
    }
}
