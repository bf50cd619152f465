import Base
import CKernels
import Foundation
import TestSupport
import Testing

@testable import Quant

/// Blocks and the weights that gguf's own reader makes of them; tools/make_ggml_fixture.py wrote them.
private func golden(_ type: GGMLType) throws -> (blocks: [UInt8], floats: [Float]) {
    let file = try SafetensorsFile(
        path: packageRoot().appendingPathComponent("Tests/QuantTests/Fixtures/ggml_blocks.safetensors").path)
    let entry = try #require(file.entry("\(type.name).blocks"), "\(type)")
    let blocks = file.file.withBytes { Array($0[entry.offset..<entry.offset + entry.byteCount]) }
    return (blocks, try file.tensor("\(type.name).floats").floats())
}

private let blockTypes = GGMLType.allCases.filter { $0.reading != .not && $0.blockElements > 1 }

@Test("blocks become the weights of gguf's reference, bit for bit", arguments: blockTypes)
func decodesBlocks(type: GGMLType) throws {
    let (blocks, want) = try golden(type)
    #expect(blocks.count * type.blockElements == want.count * type.blockBytes)
    var got = [Float](repeating: .nan, count: want.count)
    try blocks.withUnsafeBytes { bytes in
        try got.withUnsafeMutableBufferPointer {
            type.decode(bytes, count: want.count, into: try #require($0.baseAddress))
        }
    }
    for i in want.indices where got[i].bitPattern != want[i].bitPattern {
        Issue.record("\(type): weight \(i) is \(got[i]), expected \(want[i])")
        break
    }
    // The random blocks reach both ends of the integers and both signs.
    #expect(Set(want).count > 200 && want.contains { $0 < 0 } && want.contains { $0 > 0 })
}

@Test("the kernels know the types that are read, with the sizes of the enum, and no others")
func kernelsKnowTheTypes() {
    #expect(blockTypes.count == 12)
    for type in GGMLType.allCases {
        let isBlock = blockTypes.contains(type)
        #expect(mk_ggml_block_elements(Int32(type.rawValue)) == (isBlock ? Int64(type.blockElements) : 0), "\(type)")
        #expect(mk_ggml_block_bytes(Int32(type.rawValue)) == (isBlock ? Int64(type.blockBytes) : 0), "\(type)")
    }
    #expect(mk_ggml_block_bytes(-1) == 0 && mk_ggml_block_bytes(1001) == 0)
}

@Test("a scale that is infinite or no number gives weights that are found not to be finite", arguments: blockTypes)
func brokenScales(type: GGMLType) throws {
    var (blocks, want) = try golden(type)
    let places = ["q2_k": 80, "q3_k": 108, "q6_k": 208]
    let place = type.blockBytes + (places[type.name] ?? 0)
    for bits: [UInt8] in [[0x00, 0x7C], [0x01, 0xFC]] {
        blocks.replaceSubrange(place..<place + 2, with: bits)
        try blocks.withUnsafeBytes { bytes in
            try want.withUnsafeMutableBufferPointer {
                type.decode(bytes, count: $0.count, into: try #require($0.baseAddress))
            }
        }
        let bad = try #require(firstNonFinite(want), "\(type)")
        #expect(bad >= type.blockElements && bad < 2 * type.blockElements)
    }
}

@Test("rows are whole blocks, and sizes beyond all files are none")
func rowSizes() {
    #expect(GGMLType.q4_k.rowByteCount(columns: 512) == 288)
    #expect(GGMLType.q4_k.rowByteCount(columns: 544) == nil)
    #expect(GGMLType.f32.rowByteCount(columns: Int.max / 2) == nil)
}
