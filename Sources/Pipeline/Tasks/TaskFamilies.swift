import Audit
import Base
import Foundation

/// Benchmarks of many tasks that differ in their subject alone: a bundled file has what they share.
struct TaskFamily: Sendable {
    /// The bundled file, and what the tasks' names begin with.
    let name: String
    /// The column of the data that names the subject.
    let column: String
    /// The subjects as the tasks' names have them, by group; the family's own group holds those groups, or the subjects of
    /// the one that has its name.
    let groups: [(name: String, alias: String, subjects: [String])]
    /// What the description says about a subject.
    let description: @Sendable (String) -> String
    /// What the column says of a subject.
    let value: @Sendable (String) -> String

    static let all = [mmlu, mmluPro]

    private static let mmlu = TaskFamily(
        name: "mmlu", column: "subject",
        groups: [
            (
                "mmlu_stem", "stem",
                [
                    "abstract_algebra", "anatomy", "astronomy", "college_biology", "college_chemistry",
                    "college_computer_science", "college_mathematics", "college_physics", "computer_security",
                    "conceptual_physics", "electrical_engineering", "elementary_mathematics", "high_school_biology",
                    "high_school_chemistry", "high_school_computer_science", "high_school_mathematics",
                    "high_school_physics", "high_school_statistics", "machine_learning",
                ]
            ),
            (
                "mmlu_other", "other",
                [
                    "business_ethics", "clinical_knowledge", "college_medicine", "global_facts", "human_aging",
                    "management", "marketing", "medical_genetics", "miscellaneous", "nutrition",
                    "professional_accounting", "professional_medicine", "virology",
                ]
            ),
            (
                "mmlu_social_sciences", "social sciences",
                [
                    "econometrics", "high_school_geography", "high_school_government_and_politics",
                    "high_school_macroeconomics", "high_school_microeconomics", "high_school_psychology",
                    "human_sexuality", "professional_psychology", "public_relations", "security_studies", "sociology",
                    "us_foreign_policy",
                ]
            ),
            (
                "mmlu_humanities", "humanities",
                [
                    "formal_logic", "high_school_european_history", "high_school_us_history",
                    "high_school_world_history", "international_law", "jurisprudence", "logical_fallacies",
                    "moral_disputes", "moral_scenarios", "philosophy", "prehistory", "professional_law",
                    "world_religions",
                ]
            ),
        ],
        description: {
            "The following are multiple choice questions (with answers) about \(TaskFamily.spaced($0)).\n\n"
        },
        value: { $0 })

    private static let mmluPro = TaskFamily(
        name: "mmlu_pro", column: "category",
        groups: [
            (
                "mmlu_pro", "mmlu_pro",
                [
                    "biology", "business", "chemistry", "computer_science", "economics", "engineering", "health",
                    "history", "law", "math", "other", "philosophy", "physics", "psychology",
                ]
            )
        ],
        description: {
            "The following are multiple choice questions (with answers) about \(TaskFamily.spaced($0)). Think step by step and then "
                + "finish your answer with \"the answer is (X)\" where X is the correct letter choice.\n"
        },
        value: TaskFamily.spaced)

    @Sendable private static func spaced(_ subject: String) -> String {
        subject.replacingOccurrences(of: "_", with: " ")
    }

    /// The names of the tasks.
    var tasks: [String] { groups.flatMap { $0.subjects.map { "\(name)_\($0)" } } }

    /// The groups, the whole first.
    func taskGroups(_ aggregate: TaskGroup.Aggregate) -> [TaskGroup] {
        let parts = groups.map { group in
            TaskGroup(
                name: group.name, alias: group.alias, children: group.subjects.map { "\(name)_\($0)" },
                aggregates: [aggregate], version: .integer(2))
        }
        guard parts.count > 1 else { return parts }
        return [
            TaskGroup(name: name, children: parts.map(\.name), aggregates: [aggregate], version: .integer(2))
        ] + parts
    }

    /// The task of that name; nil if it is none of the family. `base` is what all share.
    func task(_ task: String, base: JSONValue) throws -> TaskDefinition? {
        guard task.hasPrefix(name + "_"), tasks.contains(task) else { return nil }
        let subject = String(task.dropFirst(name.count + 1))
        let own: JSONValue = [
            "task": .text(task), "task_alias": .text(subject), "description": .text(description(subject)),
        ]
        var definition = try TaskDefinition(bundled: TaskDefinition.overlaid(own, on: base), name: task)
        definition.subset = TaskSubset(folder: name, column: column, value: value(subject))
        return definition
    }
}
