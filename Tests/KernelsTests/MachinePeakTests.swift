import CKernels
import Kernels
import Testing

@Suite("Machine peaks")
struct MachinePeakTests {
    @Test("the operations of a loop are proportional to rounds and threads", arguments: InstructionSet.available)
    func operations(isa: InstructionSet) throws {
        for compute in [MK_COMPUTE_F32, MK_COMPUTE_BF16, MK_COMPUTE_INT8].map({ Int32($0) }) {
            var context = mk_context(isa: mk_isa_find(isa.name), pool: nil)
            let one = mk_peak_operations(&context, compute, 10)
            #expect(mk_peak_operations(&context, compute, 70) == 7 * one)
            context.pool = threadPool(3)
            #expect(mk_peak_operations(&context, compute, 10) == 3 * one)
            #expect(one >= 0 && (compute != Int32(MK_COMPUTE_F32) || one > 0))
        }
    }

    @Test("the read loop reads every byte, whatever the length", arguments: [0, 1, 63, 64, 1000, 3 << 20 | 17])
    func reading(count: Int) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 & 3) }
        var want: UInt64 = 0
        for start in stride(from: 0, to: count / 64 * 64, by: 4) {
            for i in 0..<4 { want += UInt64(bytes[start + i]) << (8 * UInt64(i)) }
        }
        for byte in bytes[(count / 64 * 64)...] { want += UInt64(byte) }
        for threads: Int32 in [1, 3] {
            var context = mk_context(isa: mk_isa_find(nil), pool: threadPool(threads))
            // Sums of 32 bits wrap; the loop's lanes wrap one by one, so compare what is left of all of them.
            #expect(
                UInt32(truncatingIfNeeded: mk_peak_read(&context, bytes, count)) == UInt32(truncatingIfNeeded: want))
        }
    }

    @Test("measured peaks are positive, and the larger of two is taken figure by figure")
    func measured() throws {
        let peak = try KernelContext(threads: 1).measurePeak(readByteCount: 1 << 20)
        #expect(try #require(peak.f32) > 0 && peak.readBytes > 0)
        let a = MachinePeak(int8: 1, f32: 5, readBytes: 2)
        let b = MachinePeak(int8: 3, bf16: 4, f32: 2, readBytes: 1)
        #expect(a.maximum(b) == MachinePeak(int8: 3, bf16: 4, f32: 5, readBytes: 2))
    }
}
