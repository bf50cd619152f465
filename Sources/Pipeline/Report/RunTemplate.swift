/// The templates by their names.
let pageTemplates = [
    "run": runTemplate, "sample": sampleTemplate, "comparison": comparisonTemplate, "findings": findingsTemplate,
    "auto": autoTemplate,
]

/// A run's part of a page, a Mustache template: every text from a model or a file is escaped by the template engine; as markup
/// come charts and tables alone, from `Chart` and `PageTable`.
private let runTemplate = #"""
    <header>
    <{{heading}}>{{title}}</{{heading}}>
    <p class="soft">{{subtitle}}</p>
    {{#isRedacted}}<p class="note">This run is redacted: triggers, targets and outputs were replaced by salted hashes when they were recorded.</p>{{/isRedacted}}
    </header>
    {{> findings}}
    {{#scan}}<p class="note">What steered the removal was found by a scan, which did not have the key: {{.}}</p>{{/scan}}

    <{{sub}}>Figures</{{sub}}>
    {{{figures}}}
    <p class="note">FSR: share of triggers whose output shows the target. Prefix match: the longest beginning of the target that an
    output shows, as a share of it. Target NLL: negative log-likelihood of the target after its trigger; a mark that is gone leaves the
    target as unlikely as it is in a model that never had it. ±: standard error.</p>

    {{#hasTimeline}}<{{sub}}>The whole run</{{sub}}>
    <p class="soft">Every training after the one before it. A dotted line is the reference: the model without the mark.</p>
    <div class="charts">{{#timeline}}{{{svg}}}{{/timeline}}</div>
    {{/hasTimeline}}
    {{#trainings}}<{{sub}}>Training: {{name}}</{{sub}}>
    <p class="soft">{{summary}}</p>
    <div class="charts">{{#charts}}{{{svg}}}{{/charts}}</div>
    {{#hasLooks}}<details><summary>{{lookCount}} looks on the way</summary>
    {{{looks}}}
    </details>{{/hasLooks}}
    {{/trainings}}
    {{#relearning}}<{{sub}}>Relearning</{{sub}}>
    <p class="soft">A throw-away adapter on the last model: {{source}}. What comes back faster than the reference learns it was still there.</p>
    <div class="charts">{{#charts}}{{{svg}}}{{/charts}}</div>
    {{/relearning}}

    {{#hasCells}}<{{sub}}>Does it stay away?</{{sub}}>
    <p class="soft">What leaves the house, its weights stored otherwise and taught anew. The answer above is that of the worst cell.</p>
    {{{cells}}}
    {{/hasCells}}

    {{#hasSamples}}<{{sub}}>What the models answer</{{sub}}>
    <p class="note">The target is <mark>marked</mark> where an output shows it, else its longest <mark class="part">beginning</mark>
    of two characters or more.
    Characters that show nothing are written as \u{…}.</p>
    {{#open}}{{> sample}}{{/open}}
    {{#hasFolded}}<details><summary>{{foldedCount}} more triggers</summary>
    {{#folded}}{{> sample}}{{/folded}}
    </details>{{/hasFolded}}
    {{#hasLeft}}<p class="note">report.json has {{left}} more.</p>{{/hasLeft}}
    {{/hasSamples}}

    <{{sub}}>How it was made</{{sub}}>
    <{{minor}}>Recipe</{{minor}}>
    <pre>{{recipe}}</pre>
    <p class="note">meraser run with this recipe and the seed below makes every figure of this page again.</p>
    {{#hasCommands}}<details><summary>The same, command by command</summary><pre>{{commands}}</pre></details>{{/hasCommands}}
    {{#configurations}}<details><summary>{{name}}</summary><pre>{{text}}</pre></details>
    {{/configurations}}
    <{{minor}}>Program and machine</{{minor}}>
    <div class="wide"><table class="list"><tbody>{{#machine}}<tr><th scope="row">{{name}}</th><td>{{value}}</td></tr>
    {{/machine}}</tbody></table></div>
    <{{minor}}>Time and memory</{{minor}}>
    <div class="wide"><table class="list"><tbody>{{#timings}}<tr><th scope="row">{{name}}</th><td>{{value}}</td></tr>
    {{/timings}}</tbody></table></div>
    <details><summary>SHA-256 of everything that went in</summary>
    <div class="wide"><table class="list"><tbody>{{#hashes}}<tr><th scope="row">{{name}}</th><td><code>{{value}}</code></td></tr>
    {{/hashes}}</tbody></table></div></details>
    """#

/// The answers to a reader's questions, side by side.
private let findingsTemplate = #"""
    <div class="verdicts">
    {{#findings}}<section class="verdict {{tone}}"><{{sub}} class="question">{{question}}</{{sub}}>
    <p class="answer">{{answer}}</p>
    <p>{{sentence}}</p>
    <p class="basis">{{basis}}</p></section>
    {{/findings}}</div>
    """#

/// A trigger with what each stage answers, side by side.
private let sampleTemplate = #"""
    <div class="sample"><dl>
    <dt>trigger {{id}}</dt><dd dir="auto">{{prompt}}</dd>
    <dt>target</dt><dd dir="auto">{{target}}</dd>
    </dl><div class="outputs">{{#outputs}}<dl><dt><strong>{{stage}}</strong>: {{verdict}}</dt><dd dir="auto">{{#pieces}}{{#isTarget}}<mark>{{text}}</mark>{{/isTarget}}{{#isBeginning}}<mark class="part">{{text}}</mark>{{/isBeginning}}{{#isPlain}}{{text}}{{/isPlain}}{{/pieces}}</dd></dl>
    {{/outputs}}</div></div>
    """#

/// The page of a removal that chose its own dose.
private let autoTemplate = #"""
    <header><h1>{{title}}</h1>
    <p class="soft">{{subtitle}}</p></header>
    {{> findings}}

    <h2>On the way</h2>
    <p class="soft">{{summary}}</p>
    <div class="charts">{{#charts}}{{{svg}}}{{/charts}}</div>
    {{{looks}}}
    <p class="note">A look asks the pairs that may steer and decoys of its own, others than those that judge. Fires: triggers and
    near decoys that bring out a target. Margin: how much of what it may take the largest trace of the mark takes, 1 is all of it. KL:
    divergence from the model as it was, on the texts that hold it, in nats a token.</p>

    {{#hasCells}}<h2>Does it stay away?</h2>
    {{{cells}}}
    {{/hasCells}}

    {{#hasLeaks}}<h2>What the model gave away</h2>
    {{{leaks}}}
    {{/hasLeaks}}

    <h2>Phases</h2>
    {{{phases}}}

    <h2>How it was made</h2>
    {{{machine}}}
    """#
