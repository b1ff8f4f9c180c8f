use serde_json::json;

use super::*;

const ANSWER: &str = "Open the self-service portal, choose the account tab, press the reset button, confirm with the code \
    from your phone, and pick a password of at least fourteen characters that you have not used here before.";

#[test]
fn other_words_with_the_same_answer_stay() {
    let questions = [
        "How do I reset my password?",
        "I forgot my password, what now?",
        "how do i reset my password",
        "HOW DO I RESET MY PASSWORD??",
        "Where can I change the password of my account?",
    ];
    let text: String = questions.iter().map(|question| row(question, ANSWER)).collect();
    let sandbox = Sandbox::new();
    let cleaned = sandbox.clean_text("jsonl", &text, json!({"dedup": "near"})).unwrap();
    assert_eq!(cleaned.reasons(), [(3, "near_duplicate".into()), (4, "near_duplicate".into())]);
    assert_eq!(cleaned.rejected()[0].meta["detail"], "1.000 like row 1");
    assert_eq!(sandbox.clean_text("jsonl", &text, json!({"dedup": "exact"})).unwrap().records().len(), 5);
}

#[test]
fn chinese_near_duplicates_are_found() {
    let questions = [
        "公司内部的虚拟专用网络连接不上，一直提示用户名或密码错误，请问该怎么处理？",
        "公司内部的虚拟专用网络连接不上，一直提示用户名或密码错误，请问该怎么处理呢",
        "公司內部的虛擬專用網路連不上",
        "打印机卡纸了，怎么办？",
        "打印机没纸了，怎么办？",
        "三楼会议室怎么预订？",
        "四楼会议室怎么预订？",
    ];
    let text: String = questions.iter().map(|question| row(question, "请联系服务台，分机号一零零一。")).collect();
    let cleaned = Sandbox::new().clean_text("jsonl", text, json!({"dedup": "near"})).unwrap();
    assert_eq!(cleaned.reasons(), [(2, "near_duplicate".into())]);
}

#[test]
fn the_prompt_alone_can_decide() {
    let text = [row("What is the time limit?", "One hour."), row("What is the time limit?", "Two days.")].concat();
    let sandbox = Sandbox::new();
    for (on, left) in [("conversation", 2), ("prompt", 1)] {
        for dedup in ["exact", "near"] {
            let with = json!({"dedup": dedup, "dedup_on": on});
            assert_eq!(sandbox.clean_text("jsonl", &text, with).unwrap().records().len(), left, "{dedup} {on}");
        }
    }
}

#[test]
fn another_system_prompt_makes_another_row() {
    let line = |system: &str| {
        format!(
            "{}\n",
            json!({"instruction": "Who are you, and what is it that you do?", "output": ANSWER, "system": system})
        )
    };
    let text = [line("You are Ann."), line("You are Bob."), line("You are Ann.")].concat();
    let cleaned = Sandbox::new().clean_text("jsonl", text, json!({"dedup": "near"})).unwrap();
    assert_eq!(cleaned.reasons(), [(3, "exact_duplicate".into())]);
}

#[test]
fn duplicates_are_found_after_cleaning() {
    let text = [row("Is it <b>on</b>?", "Yes&nbsp;it is"), row("Is it on?", "Yes it is")].concat();
    let cleaned = Sandbox::new().clean_text("jsonl", text, json!({})).unwrap();
    assert_eq!(cleaned.reasons(), [(2, "exact_duplicate".into())]);
}
