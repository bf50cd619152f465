import ArgumentParser
import Quant

extension TensorType: ExpressibleByArgument {
    /// The type of that name.
    public init?(argument: String) { self.init(name: argument) }

    /// The name that the command line uses.
    public var defaultValueDescription: String { name }

    /// All names.
    public static var allValueStrings: [String] { allCases.map(\.name) }
}
