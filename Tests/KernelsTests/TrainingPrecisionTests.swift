import Base
import Foundation
import Quant
import TestSupport
import Testing

@testable import Kernels

@Suite("What training computes in by what a CPU does")
struct TrainingPrecisionTests {
    private let zen4 = CPUIdentity(vendor: "AuthenticAMD", family: 25, model: 17)
    private let emeraldRapids = CPUIdentity(vendor: "GenuineIntel", family: 6, model: 207)
    private let other = CPUIdentity(vendor: "GenuineIntel", family: 6, model: 1)

    #if os(Linux) && arch(x86_64)
        @Test("the CPU is named as the system names it")
        func identity() throws {
            let text = try String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)
            func value(_ name: String) -> String? {
                text.split(separator: "\n").first { $0.hasPrefix(name + "\t") }
                    .flatMap { $0.split(separator: ":").last }.map { $0.trimmingCharacters(in: .whitespaces) }
            }
            let cpu = CPUIdentity.current
            #expect(cpu.vendor == value("vendor_id"))
            #expect("\(cpu.family)" == value("cpu family") && "\(cpu.model)" == value("model"))
        }
    #endif

    @Test("the table decides, a measurement on this CPU before it, and f32 where neither is there")
    func choice() {
        #expect(TrainingPrecision(on: zen4, calibration: nil).compute == .bf16)
        #expect(TrainingPrecision(on: emeraldRapids, calibration: nil).compute == .f32)
        #expect(TrainingPrecision(on: other, calibration: nil) == TrainingPrecision(.f32, .unknown(other)))
        let slow = PrecisionCalibration(cpu: zen4, f32: 11, bf16: 10)
        #expect(TrainingPrecision(on: zen4, calibration: slow) == TrainingPrecision(.f32, .calibration(zen4)))
        #expect(TrainingPrecision(on: other, calibration: slow).compute == .f32, "another CPU's says nothing")
        let fast = PrecisionCalibration(cpu: other, f32: 10, bf16: 11)
        #expect(TrainingPrecision(on: other, calibration: fast).compute == .bf16)
    }

    @Test("what was measured is asked for by training alone, and not on a path without bf16")
    func context() throws {
        struct Broken: Error {}
        for name in KernelContext.availableISANames {
            let kernels = try KernelContext(threads: 1, isa: name, cpu: other) { throw Broken() }
            let plain = try KernelContext(threads: 1, isa: name)
            #expect(kernels.backwardCompute(for: .int8) == .f32, "an unknown CPU")
            #expect(kernels.backwardCompute(for: .bf16) == .bf16, "what was asked for stays")
            guard kernels.supports(.bf16) else {
                #expect(try kernels.trainingPrecision() == TrainingPrecision(.f32, .path))
                continue
            }
            #expect(throws: Broken.self) { try kernels.trainingPrecision() }
            #expect(try plain.trainingPrecision() == TrainingPrecision(.bf16, .path))
            #expect(plain.backwardCompute(for: .int8) == .bf16)
            let fast = PrecisionCalibration(cpu: other, f32: 10, bf16: 11)
            let measured = try KernelContext(threads: 1, isa: name, cpu: other) { fast }
            #expect(try measured.trainingPrecision() == TrainingPrecision(.bf16, .calibration(other)))
        }
    }

    @Test("what was measured is kept, and a broken file is named")
    func file() throws {
        try withTemporaryFolder { folder in
            let cache = ModelCache(folder: folder.appendingPathComponent("cache").path)
            #expect(try PrecisionCalibration(in: cache) == nil)
            let found = PrecisionCalibration(cpu: other, f32: 10.5, bf16: 9)
            try found.save(in: cache)
            #expect(try PrecisionCalibration(in: cache) == found)
            let path = PrecisionCalibration.path(in: cache)
            for text in ["", "{", "{}", #"{"vendor": 1, "family": 6, "model": 1, "f32": 1, "bf16": 1}"#] {
                try Data(text.utf8).write(to: URL(fileURLWithPath: path))
                #expect { _ = try PrecisionCalibration(in: cache) } throws: {
                    ($0 as? MeraserError)?.kind == .badInput && "\($0)".contains(path)
                }
            }
        }
    }
}
