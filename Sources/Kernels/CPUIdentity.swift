import CKernels

/// Which CPU this is. What is fast differs between CPUs that have the same instructions.
public struct CPUIdentity: Sendable, Hashable, CustomStringConvertible {
    /// As CPUID has it: `GenuineIntel`, `AuthenticAMD`; empty where the CPU does not say.
    public let vendor: String
    /// The family, extended.
    public let family: Int
    /// The model, extended.
    public let model: Int

    /// A CPU.
    public init(vendor: String, family: Int, model: Int) {
        (self.vendor, self.family, self.model) = (vendor, family, model)
    }

    /// This one.
    public static let current: CPUIdentity = {
        let cpu = mk_cpu_identity()
        let vendor = withUnsafeBytes(of: cpu.vendor) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        return CPUIdentity(vendor: vendor, family: Int(cpu.family), model: Int(cpu.model))
    }()

    /// `GenuineIntel family 6 model 207`.
    public var description: String {
        vendor.isEmpty ? "a CPU without a name" : "\(vendor) family \(family) model \(model)"
    }
}
