import ArgumentParser
import Quant

extension TensorType: ExpressibleByArgument {
    /// The type of that name.
    public init?(argument: String) { self.init(name: argument) }

    /// The name that the command line uses.
    public var defaultValueDescription: String { name }

    /// All names.
    public static var allValueStrings: [String] { allCases.map(\.name) }

    /// None: a name says what there is to say, not the number that stands for it in files.
    public static var allValueDescriptions: [String: String] { [:] }
}
