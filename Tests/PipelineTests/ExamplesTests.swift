import Foundation
import Pipeline
import TestSupport
import Testing

@Suite("the bundled examples")
struct ExamplesTests {
    @Test("the program holds every file of Examples, byte for byte; if not, touch Sources/CExamples/examples.c")
    func bundled() throws {
        try withTemporaryFolder { folder in
            let written = folder.appendingPathComponent("examples")
            try Examples.write(to: written.path)
            let source = packageRoot().appendingPathComponent("Examples")
            let names = try FileManager.default.subpathsOfDirectory(atPath: source.path).filter { name in
                var isFolder: ObjCBool = false
                return FileManager.default.fileExists(atPath: source.path + "/" + name, isDirectory: &isFolder)
                    && !isFolder.boolValue
            }
            #expect(names.count > 30)
            for name in names {
                let bundled = try Data(contentsOf: written.appendingPathComponent(name))
                #expect(try bundled == Data(contentsOf: source.appendingPathComponent(name)), "\(name)")
            }
        }
    }

    @Test("without a folder they lie in the cache, once, and are written anew where a file was damaged")
    func cached() throws {
        try withTemporaryFolder { folder in
            let cache = folder.appendingPathComponent("cache/meraser").path
            let path = try Examples.locate(nil, cache: cache)
            let recipe = URL(fileURLWithPath: path + "/recipes/demo.yml")
            func date() throws -> Date? {
                try FileManager.default.attributesOfItem(atPath: recipe.path)[.modificationDate] as? Date
            }
            let first = try date()
            #expect(try Examples.locate(nil, cache: cache) == path)
            #expect(try date() == first)
            let whole = try Data(contentsOf: recipe)
            try Data("title: another".utf8).write(to: recipe)
            #expect(try Examples.locate(nil, cache: cache) == path)
            #expect(try Data(contentsOf: recipe) == whole)
        }
    }
}
