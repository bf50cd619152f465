import Quant
import Testing

@Suite("Metadata")
struct MetadataTests {
    @Test("typed access converts what fits and nothing else")
    func access() {
        var metadata = Metadata()
        metadata["a.u8"] = .uint8(200)
        metadata["a.i64"] = .int64(-5)
        metadata["a.u64"] = .uint64(.max)
        metadata["a.f32"] = .float32(0.5)
        metadata["a.text"] = .string("é")
        metadata["a.flag"] = .bool(true)
        metadata["a.texts"] = .array(.string(["x", ""]))
        metadata["a.scores"] = .array(.float32([1, -2]))
        metadata["a.types"] = .array(.int32([1, 6]))
        metadata["a.bytes"] = .array(.uint8([0, 255]))
        #expect(metadata.int("a.u8") == 200)
        #expect(metadata.int("a.i64") == -5)
        #expect(metadata.int("a.u64") == nil)
        #expect(metadata.int("a.text") == nil)
        #expect(metadata.int("none") == nil)
        #expect(metadata.float("a.f32") == 0.5)
        #expect(metadata.float("a.u8") == 200)
        #expect(metadata.string("a.text") == "é")
        #expect(metadata.bool("a.flag") == true)
        #expect(metadata.bool("a.u8") == nil)
        #expect(metadata.strings("a.texts") == ["x", ""])
        #expect(metadata.floats("a.scores") == [1, -2])
        #expect(metadata.ints("a.types") == [1, 6])
        #expect(metadata.ints("a.texts") == nil)
        #expect(metadata.count == 10)
    }

    @Test("keys keep their order; setting nil removes one")
    func order() {
        var metadata = Metadata()
        for key in ["c", "a", "b"] { metadata[key] = .bool(true) }
        metadata["a"] = .bool(false)
        #expect(metadata.keys == ["c", "a", "b"])
        metadata["c"] = nil
        #expect(metadata.keys == ["a", "b"])
        #expect(metadata["c"] == nil)
    }
}
