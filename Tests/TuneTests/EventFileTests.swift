import Base
import Foundation
import TestSupport
import Testing

@testable import Tune

@Suite("TensorBoard's event files")
struct EventFileTests {
    /// What tensorboard 2.21's own protobuf classes and `masked_crc32c` write for a version, a session that starts at step
    /// 301, and two scalars of that step, all at 1700000000.25 s.
    private static let golden =
        "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9100000000000000095fbfe18"
        + "0900001040fc54d94110ad023a020801cb79b93b3d000000000000006049f1ec0900001040fc54d94110ad022a2f0a110a0a7472"
        + "61696e2f6c6f7373150000c03f0a1a0a13747261696e2f6c6561726e696e675f72617465156f12833af8dc0a4b"

    private func bytes(in folder: URL) throws -> [UInt8] {
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(names.count == 1 && names[0].contains("tfevents"))
        return Array(try Data(contentsOf: folder.appendingPathComponent(try #require(names.first))))
    }

    @Test("are those of tensorboard's own writer, bit for bit")
    func golden() throws {
        try withTemporaryFolder { folder in
            let runs = folder.appendingPathComponent("runs")
            let file = try EventFile(folder: runs.path, firstStep: 300, time: 1_700_000_000.25)
            try file.append(
                step: 301, [("train/loss", 1.5), ("train/learning_rate", 0.001)], time: 1_700_000_000.25)
            let hex = try bytes(in: runs).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            #expect(hex == Self.golden)
        }
    }

    @Test("grow by whole records: a first session does not say where it starts")
    func firstSession() throws {
        try withTemporaryFolder { folder in
            let file = try EventFile(folder: folder.path, firstStep: 0, time: 1)
            let head = try bytes(in: folder).count
            try file.append(step: 1, [], time: 1)
            // Version: 8 + 4 + 24 + 4. An empty summary: two of the same, time and step (11), key and length (2).
            let whole = try bytes(in: folder).count
            #expect(head == 40 && whole == 40 + 16 + 13)
        }
    }
}
