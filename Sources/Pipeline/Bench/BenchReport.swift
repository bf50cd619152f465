import Base
import Foundation
import Kernels

/// What a test measured.
public struct BenchResult: Sendable {
    /// Which.
    public let test: BenchTest
    /// Threads that it ran on.
    public let threads: Int
    /// Precision of the products in its forward.
    public let compute: Compute
    /// Tokens a second of each round.
    public let tokensPerSecond: [Double]
    /// The largest resident size of the process in the test, mapped weights included.
    public let peakRSSBytes: Int
    /// What bounds the test on this machine: `int8 peak`, `read bandwidth`, ….
    public let limit: String
    /// The median as a share of that bound; nil where the path has no instruction to compare with.
    public let shareOfPeak: Double?

    /// The middle of the rounds.
    public var median: Double { middle(tokensPerSecond) }

    /// The sample standard deviation of the rounds, 0 for one.
    public var standardDeviation: Double {
        guard tokensPerSecond.count > 1 else { return 0 }
        let mean = tokensPerSecond.reduce(0, +) / Double(tokensPerSecond.count)
        let squares = tokensPerSecond.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (squares / Double(tokensPerSecond.count - 1)).squareRoot()
    }
}

/// The middle of some numbers, at least one; between two, their mean.
func middle(_ values: [Double]) -> Double {
    precondition(!values.isEmpty)
    let sorted = values.sorted()
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
}

/// A whole benchmark of one model.
public struct BenchReport: Sendable {
    /// The model's name.
    public let model: String
    /// The type of its matrices.
    public let type: String
    /// Its weights.
    public let parameters: Int
    /// Bytes of its tensors.
    public let bytes: Int
    /// The instruction set's path.
    public let isa: String
    /// Precision of inference's products.
    public let compute: Compute
    /// The peaks for each number of threads, in the order asked for.
    public let peaks: [(threads: Int, peak: MachinePeak)]
    /// The tests, for each number of threads in turn.
    public let results: [BenchResult]

    /// One object; `threads` and `peaks` are those of the last number of threads.
    public var json: JSONValue {
        func rate(_ value: Double?) -> JSONValue { value.map { .real($0 / 1e9) } ?? .null }
        let last = peaks[peaks.count - 1]
        return [
            "model": .text(model), "type": .text(type), "parameters": .integer(parameters), "bytes": .integer(bytes),
            "isa": .text(isa), "threads": .integer(last.threads), "compute": .text(compute.rawValue),
            "peaks": [
                "int8_gops": rate(last.peak.int8), "bf16_gflops": rate(last.peak.bf16),
                "f32_gflops": rate(last.peak.f32), "read_gb_per_s": rate(last.peak.readBytes),
            ],
            "results": .array(results.map(\.json)),
        ]
    }

    /// llama-bench's table in Markdown, then each test's share of the machine's peak.
    public var text: String {
        let header = ["model", "size", "params", "backend", "threads", "test", "t/s", "peak RSS"]
        let rule = ["---", "---:", "---:", "---", "---:", "---", "---:", "---:"]
        let name = "\(model) \(type)"
        let size = describedBinary(bytes)
        let count = String(format: parameters < 1_000_000_000 ? "%.2f M" : "%.2f B", scaledParameters)
        let rows = results.map { result in
            [
                name, size, count, "CPU \(isa) \(result.compute.rawValue)", "\(result.threads)", result.test.name,
                String(format: "%.2f ± %.2f", result.median, result.standardDeviation),
                describedBinary(result.peakRSSBytes),
            ]
        }
        let table = ([header, rule] + rows).map { "| " + $0.joined(separator: " | ") + " |" }
        return (table + [""] + results.map(\.line) + peaks.map(Self.line)).joined(separator: "\n")
    }

    private var scaledParameters: Double {
        Double(parameters) / (parameters < 1_000_000_000 ? 1e6 : 1e9)
    }

    private static func line(threads: Int, peak: MachinePeak) -> String {
        func text(_ value: Double?, _ unit: String) -> String? {
            value.map { String(format: "%.0f \(unit)", $0 / 1e9) }
        }
        let parts = [
            text(peak.int8, "GOP/s int8"), text(peak.bf16, "GFLOP/s bf16"), text(peak.f32, "GFLOP/s f32"),
            text(peak.readBytes, "GB/s read"),
        ]
        return "measured peak of \(threads) thread\(threads == 1 ? "" : "s"): "
            + parts.compactMap { $0 }.joined(separator: ", ")
    }
}

extension BenchResult {
    fileprivate var json: JSONValue {
        [
            "test": .text(test.name), "threads": .integer(threads), "compute": .text(compute.rawValue),
            "tokens_per_second": .array(tokensPerSecond.map { .real($0) }), "median": .real(median),
            "standard_deviation": .real(standardDeviation), "limit": .text(limit),
            "share_of_peak": shareOfPeak.map { .real($0) } ?? .null, "peak_rss_bytes": .integer(peakRSSBytes),
        ]
    }

    fileprivate var line: String {
        let share = shareOfPeak.map { String(format: ", %.0f %% of the \(limit)", $0 * 100) } ?? ""
        return String(format: "\(test.name) %.1f t/s", median) + share + " (\(threads) threads)"
    }
}

/// Bytes as llama-bench writes them: `3.56 GiB`, `608.16 MiB`.
private func describedBinary(_ bytes: Int) -> String {
    let value = Double(bytes)
    return value >= 1_073_741_824
        ? String(format: "%.2f GiB", value / 1_073_741_824) : String(format: "%.2f MiB", value / 1_048_576)
}
