import CKernels
import Quant
import Testing

@Suite("Tensor types")
struct TensorTypeTests {
    @Test("ids, tiles and sizes agree with the C kernels", arguments: TensorType.allCases)
    func agreesWithKernels(type: TensorType) {
        let id = Int32(type.rawValue)
        #expect(mk_type_is_tiled(id) == type.isTiled)
        #expect(type.tileByteCount.map(Int64.init) ?? 0 == mk_tile_bytes(id))
        #expect(type.isTiled ? Int64(type.tileColumns) == mk_tile_columns(id) : mk_tile_columns(id) == 0)
        for (rows, columns) in [(1, 32), (15, 64), (16, 96), (17, 32), (33, 320), (1, 256), (40, 768)] {
            let bytes = mk_matrix_bytes(id, Int64(rows), Int64(columns))
            #expect(type.byteCount(rows: rows, columns: columns) ?? 0 == bytes)
        }
    }

    @Test("sizes are those of docs/reference/format.md")
    func sizes() {
        #expect(TensorType.q4_0.byteCount(rows: 20, columns: 64) == 4 * 288)
        #expect(TensorType.iq4_nl.byteCount(rows: 16, columns: 32) == 288)
        #expect(TensorType.nf4.byteCount(rows: 1, columns: 32) == 288)
        #expect(TensorType.q8_0.byteCount(rows: 17, columns: 32) == 2 * 544)
        #expect(TensorType.q4_1.byteCount(rows: 17, columns: 64) == 4 * 320)
        #expect(TensorType.q4_k.byteCount(rows: 20, columns: 512) == 4 * 2368)
        #expect(TensorType.q5_k.byteCount(rows: 1, columns: 256) == 2880)
        #expect(TensorType.q6_k.byteCount(rows: 16, columns: 256) == 3392)
        #expect(TensorType.f32.byteCount(rows: 3, columns: 5) == 60)
        #expect(TensorType.f16.byteCount(rows: 3, columns: 5) == 30)
        #expect(TensorType.bf16.byteCount(rows: 3, columns: 5) == 30)
    }

    @Test("impossible shapes have no size")
    func impossible() {
        #expect(TensorType.q8_0.byteCount(rows: 16, columns: 33) == nil)
        #expect(TensorType.q4_k.byteCount(rows: 16, columns: 288) == nil)
        #expect(TensorType.f32.byteCount(rows: 0, columns: 5) == nil)
        #expect(TensorType.f32.byteCount(rows: 5, columns: -1) == nil)
        #expect(TensorType.f32.byteCount(rows: 1 << 31, columns: 1 << 31) == nil)
        #expect(TensorType.q8_0.byteCount(rows: Int.max, columns: 32) == nil)
        #expect(TensorType.q4_0.byteCount(rows: 1 << 40, columns: 1 << 40) == nil)
    }

    @Test("names read back, whatever their case")
    func names() {
        for type in TensorType.allCases {
            #expect(TensorType(name: type.name) == type)
            #expect(TensorType(name: type.name.uppercased()) == type)
        }
        #expect(TensorType(name: "q3_k") == nil)
    }
}
