"""Built-in texts: welcome templates by locale, and claims that advertising of medical aesthetics must not make."""

DEFAULT_TEMPLATES: dict[str, str] = {
    "zh-CN": (
        "欢迎来到安美智享！🌟 我是您的专属AI咨询助手，很高兴为您服务。"
        "您可以随时向我咨询医美相关问题，获得个性化的美容建议。"
    ),
    "zh-TW": (
        "歡迎來到安美智享！🌟 我是您的專屬AI諮詢助手，很高興為您服務。"
        "您可以隨時向我諮詢醫美相關問題，獲得個人化的美容建議。"
    ),
    "en": (
        "Welcome to AnmeiSmart! 🌟 I am your personal AI consulting assistant, glad to be of service. "
        "Ask me anything about aesthetic medicine, any time, and get advice that fits you."
    ),
    "ja": (
        "安美智享へようこそ！🌟 私はお客様専属のAIカウンセリングアシスタントです。"
        "美容医療についていつでもお気軽にご相談ください。お一人おひとりに合ったアドバイスをお届けします。"
    ),
    "ko": (
        "안메이스마트에 오신 것을 환영합니다! 🌟 저는 고객님의 전담 AI 상담 도우미입니다. "
        "미용 의료에 관해 언제든지 편하게 문의해 주세요. 고객님께 맞는 조언을 드리겠습니다."
    ),
}  # fmt: skip

# From what China's advertising law (articles 9, 16) and its rules for medical aesthetics forbid: guarantees of effect or
# safety, cure and success rates, superlatives; and their counterparts in the other languages served.
FORBIDDEN_CLAIMS: tuple[str, ...] = (
    # zh-CN
    "百分之百安全", "100%安全", "绝对安全", "绝对有效", "百分之百有效", "100%有效", "零风险", "无任何风险", "没有任何风险",
    "无副作用", "零副作用", "没有副作用", "没有任何副作用", "毫无副作用", "绝无副作用", "永久有效", "永久效果", "终身有效",
    "永不反弹", "永不复发", "根治", "包治", "药到病除", "一次见效", "立竿见影", "保证效果", "保证有效", "保证安全", "保证治愈",
    "确保治愈", "无效退款", "治愈率", "有效率", "成功率", "最佳疗效", "疗效最佳", "全国第一", "国家级", "世界级专家", "最先进",
    "绝不留疤", "保证不留疤", "不会留疤", "完全无痛", "零痛苦", "包年轻",
    # zh-TW
    "絕對安全", "絕對有效", "零風險", "沒有任何風險", "無副作用", "沒有副作用", "絕無副作用", "終身有效", "永不復發",
    "保證效果", "保證有效", "保證安全", "保證治癒", "無效退款", "治癒率", "絕不留疤", "完全無痛",
    # en
    "100% safe", "completely safe", "totally safe", "no side effects", "without side effects", "free of side effects",
    "risk-free", "no risk", "zero risk", "guaranteed results", "guarantee results", "guaranteed to work", "permanent results",
    "permanently cure", "will cure", "miracle cure", "success rate", "cure rate", "completely painless", "no scars ever",
    # ja
    "副作用なし", "副作用はありません", "副作用がない", "絶対に安全", "絶対安全", "必ず効果", "効果を保証", "リスクゼロ", "永久に効果", "完治",
    # ko
    "부작용 없음", "부작용이 없", "부작용 없는", "100% 안전", "절대 안전", "무조건 효과", "효과 보장", "효과를 보장", "위험이 전혀 없", "완치",
)  # fmt: skip
