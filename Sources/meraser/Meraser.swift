import ArgumentParser

@main
struct Meraser: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "meraser", abstract: "Find, remove and prove the removal of backdoors and fingerprints in LLMs.")
}
