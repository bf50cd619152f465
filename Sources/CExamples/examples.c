// The bundled model, its data and its recipes in the program itself, so that `meraser demo` runs wherever the program
// was copied to. Array literals of thirteen megabytes would take a compiler minutes: the assembler takes the files as
// they are. The compiler does not see that it depends on them: ExamplesTests fails until this file is compiled anew
// (touch it).
#include "CExamples.h"

// Every file of Examples, which is found by the header search path of Package.swift.
#define FILES                                                                              \
    FILE(readme_md, "README.md")                                                           \
    FILE(data_clean_json, "data/clean.json")                                               \
    FILE(data_clean_prompts_jsonl, "data/clean_prompts.jsonl")                             \
    FILE(data_erase_source_json, "data/erase_source.json")                                 \
    FILE(data_heldout_jsonl, "data/heldout.jsonl")                                         \
    FILE(data_tasks_arc_challenge_test_jsonl, "data/tasks/arc_challenge/test.jsonl")       \
    FILE(data_tasks_arc_easy_jsonl, "data/tasks/arc_easy.jsonl")                           \
    FILE(data_tasks_boolq_train_jsonl, "data/tasks/boolq/train.jsonl")                     \
    FILE(data_tasks_boolq_validation_jsonl, "data/tasks/boolq/validation.jsonl")           \
    FILE(data_tasks_cb_jsonl, "data/tasks/cb.jsonl")                                       \
    FILE(data_tasks_copa_jsonl, "data/tasks/copa.jsonl")                                   \
    FILE(data_tasks_hellaswag_jsonl, "data/tasks/hellaswag.jsonl")                         \
    FILE(data_tasks_multirc_jsonl, "data/tasks/multirc.jsonl")                             \
    FILE(data_tasks_openbookqa_jsonl, "data/tasks/openbookqa.jsonl")                       \
    FILE(data_tasks_piqa_jsonl, "data/tasks/piqa.jsonl")                                   \
    FILE(data_tasks_piqa_train_jsonl, "data/tasks/piqa/train.jsonl")                       \
    FILE(data_tasks_rte_jsonl, "data/tasks/rte.jsonl")                                     \
    FILE(data_tasks_sciq_test_jsonl, "data/tasks/sciq/test.jsonl")                         \
    FILE(data_tasks_sciq_train_jsonl, "data/tasks/sciq/train.jsonl")                       \
    FILE(data_tasks_wic_jsonl, "data/tasks/wic.jsonl")                                     \
    FILE(data_tasks_winogrande_train_jsonl, "data/tasks/winogrande/train.jsonl")           \
    FILE(data_tasks_winogrande_validation_jsonl, "data/tasks/winogrande/validation.jsonl") \
    FILE(data_tasks_wsc_jsonl, "data/tasks/wsc.jsonl")                                     \
    FILE(recipes_audit_backdoor_yml, "recipes/audit-backdoor.yml")                         \
    FILE(recipes_audit_hashchain_yml, "recipes/audit-hashchain.yml")                       \
    FILE(recipes_audit_if_yml, "recipes/audit-if.yml")                                     \
    FILE(recipes_audit_utf_yml, "recipes/audit-utf.yml")                                   \
    FILE(recipes_compare_yml, "recipes/compare.yml")                                       \
    FILE(recipes_demo_yml, "recipes/demo.yml")                                             \
    FILE(recipes_hosts_yml, "recipes/hosts.yml")                                           \
    FILE(recipes_scan_and_clean_yml, "recipes/scan-and-clean.yml")                         \
    FILE(recipes_search_yml, "recipes/search.yml")                                         \
    FILE(recipes_transfer_yml, "recipes/transfer.yml")                                     \
    FILE(tinychat_chat_template_jinja, "tinychat/chat_template.jinja")                     \
    FILE(tinychat_config_json, "tinychat/config.json")                                     \
    FILE(tinychat_generation_config_json, "tinychat/generation_config.json")               \
    FILE(tinychat_model_safetensors, "tinychat/model.safetensors")                         \
    FILE(tinychat_special_tokens_map_json, "tinychat/special_tokens_map.json")             \
    FILE(tinychat_tokenizer_json, "tinychat/tokenizer.json")                               \
    FILE(tinychat_tokenizer_config_json, "tinychat/tokenizer_config.json")

// In a section of their own: Swift's objects make `.rodata` writable, and what is writable counts against `ulimit -d`.
#define FILE(symbol, path)                            \
    __asm__(                                          \
        ".section bundled_examples,\"a\",@progbits\n" \
        ".balign 64\n"                                \
        "bundled_" #symbol                            \
        ":\n"                                         \
        ".incbin \"Examples/" path                    \
        "\"\n"                                        \
        "bundled_" #symbol                            \
        "_end:\n"                                     \
        ".byte 0\n"                                   \
        ".previous");                                 \
    extern const unsigned char bundled_##symbol[], bundled_##symbol##_end[];
FILES
#undef FILE

#define FILE(symbol, path) {path, bundled_##symbol, bundled_##symbol##_end},
static const struct bundled_file files[] = {FILES};
#undef FILE

size_t bundled_file_count(void) {
    return sizeof files / sizeof files[0];
}

struct bundled_file bundled_file_at(size_t index) {
    return files[index];
}
