import CKernels
import TestSupport
import Testing

@Suite("C kernels: dispatch and checksums")
struct CKernelsDispatchTests {
    @Test("the portable path is always there, and the best path is the last one available")
    func portable() throws {
        #expect(InstructionSet.known.first == "portable")
        #expect(mk_isa_find("portable") != nil)
        let best = try #require(mk_isa_find(nil))
        #expect(String(cString: mk_isa_name(best)) == InstructionSet.available.last?.name)
    }

    @Test("an unknown name has no table", arguments: ["", "sse9", "AVX2", "avx", "avx5120"])
    func unknown(name: String) { #expect(mk_isa_find(name) == nil) }

    @Test("names beyond the known ones are refused", arguments: [-1, 1000] as [Int32])
    func beyond(index: Int32) { #expect(mk_isa_known(index) == nil) }

    @Test(
        "this CPU runs the AVX2 path",
        .enabled(if: InstructionSet.available.contains { $0.name == "avx2" }, "this CPU lacks AVX2, FMA or F16C"))
    func avx2() throws {
        let isa = try #require(mk_isa_find("avx2"))
        #expect(String(cString: mk_isa_name(isa)) == "avx2")
    }

    @Test(
        "this CPU runs the AVX-512 path",
        .enabled(
            if: InstructionSet.available.contains { $0.name == "avx512" }, "this CPU lacks AVX-512 F, BW, VL or DQ"))
    func avx512() throws {
        let isa = try #require(mk_isa_find("avx512"))
        #expect(String(cString: mk_isa_name(isa)) == "avx512")
    }

    @Test(
        "this CPU runs the AVX-512 VNNI path",
        .enabled(if: InstructionSet.available.contains { $0.name == "avx512vnni" }, "this CPU lacks AVX-512 VNNI"))
    func avx512vnni() throws {
        let isa = try #require(mk_isa_find("avx512vnni"))
        #expect(String(cString: mk_isa_name(isa)) == "avx512vnni")
    }

    @Test(
        "this CPU runs the AVX-VNNI path",
        .enabled(
            if: InstructionSet.available.contains { $0.name == "avxvnni" },
            "this CPU lacks AVX-VNNI"))
    func avxvnni() throws {
        let isa = try #require(mk_isa_find("avxvnni"))
        #expect(String(cString: mk_isa_name(isa)) == "avxvnni")
    }

    @Test(
        "f32 and int8 are available everywhere, bf16 where the path says so, unknown precisions nowhere",
        arguments: InstructionSet.available)
    func compute(isa: InstructionSet) {
        let table = mk_isa_find(isa.name)
        #expect(mk_compute_available(table, Int32(MK_COMPUTE_F32)))
        #expect(mk_compute_available(table, Int32(MK_COMPUTE_INT8)))
        #expect(
            mk_compute_available(table, Int32(MK_COMPUTE_BF16)) == ["avx512bf16", "avx512intel"].contains(isa.name))
        #expect(!mk_compute_available(table, 77))
    }

    @Test("CRC32C of the standard check string")
    func checkString() {
        #expect(mk_crc32c(0, Array("123456789".utf8), 9) == 0xe306_9283)
        #expect(mk_crc32c(0, [UInt8](repeating: 0, count: 32), 32) == 0x8a91_36aa)  // RFC 3720 B.4
        #expect(mk_crc32c(0, [UInt8](repeating: 0xff, count: 32), 32) == 0x62a8_ab43)
        #expect(mk_crc32c(0, [UInt8](0..<32), 32) == 0x46dd_794e)
    }

    @Test("CRC32C agrees with the bitwise definition at every length, and continues across cuts")
    func crcLengths() {
        var random = SeededRandom(seed: 7)
        let bytes = (0..<67).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        for length in 0...bytes.count {
            var crc: UInt32 = 0xffff_ffff
            for byte in bytes[..<length] {
                crc ^= UInt32(byte)
                for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
            }
            #expect(mk_crc32c(0, bytes, length) == ~crc)
            let cut = length / 3
            let first = mk_crc32c(0, bytes, cut)
            #expect(mk_crc32c(first, Array(bytes[cut...]), length - cut) == ~crc)
        }
    }

    @Test("the first non-finite value is found wherever it is")
    func nonfinite() {
        var values = [Float](repeating: 1, count: 2500)
        #expect(mk_find_nonfinite(values, 2500) == -1)
        #expect(mk_find_nonfinite(values, 0) == -1)
        values[0] = .greatestFiniteMagnitude
        values[1] = -.leastNonzeroMagnitude
        #expect(mk_find_nonfinite(values, 2500) == -1)
        for (index, bad) in [(2499, Float.nan), (1024, -.infinity), (1023, .infinity), (3, -.nan)] {
            values[index] = bad
            #expect(mk_find_nonfinite(values, 2500) == Int64(index))
        }
        #expect(mk_find_nonfinite(values, 3) == -1)
    }
}
