use fantoccini::Locator;
use serde_json::Value;

use crate::Browser;

/// Polls until `CONDITION` is true. The driver's script timeout ends it after 30 s.
const WAIT: &str = "
    const [done] = [...arguments].slice(-1);
    const look = () => { (CONDITION) ? done(true) : setTimeout(look, 10); };
    look();
";

impl Browser {
    pub async fn open(&self, url: &str) {
        self.client
            .goto(url)
            .await
            .expect("could not open the page");
    }

    /// Opens a status page and waits for its first events.
    pub async fn open_live(&self, url: &str) {
        self.open(url).await;
        self.until_live().await;
    }

    /// Evaluates an expression in the page.
    pub async fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        let result = self.client.execute(&script, Vec::new()).await;
        result.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    pub async fn is(&self, condition: &str) -> bool {
        self.eval(condition).await == Value::Bool(true)
    }

    pub async fn text(&self, expression: &str) -> String {
        let value = self.eval(expression).await;
        value
            .as_str()
            .unwrap_or_else(|| panic!("{expression} is {value}"))
            .to_owned()
    }

    /// Runs statements in the page.
    pub async fn run(&self, script: &str) {
        let result = self.client.execute(script, Vec::new()).await;
        result.unwrap_or_else(|error| panic!("{script}: {error}"));
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&self, condition: &str) {
        let script = WAIT.replace("CONDITION", condition);
        let waited = self.client.execute_async(&script, Vec::new()).await;
        if let Err(error) = waited {
            let text = self.text("document.body.innerText").await;
            panic!("not reached: {condition}: {error}\nThe page:\n{text}");
        }
    }

    pub async fn until_live(&self) {
        self.until("document.querySelector('#connection').textContent === 'live'")
            .await;
    }

    pub async fn click(&self, selector: &str) {
        let found = self.client.find(Locator::Css(selector)).await;
        let found = found.unwrap_or_else(|error| panic!("{selector}: {error}"));
        found
            .click()
            .await
            .unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Replaces the text of a field.
    pub async fn write(&self, selector: &str, text: &str) {
        let found = self.client.find(Locator::Css(selector)).await;
        let field = found.unwrap_or_else(|error| panic!("{selector}: {error}"));
        field.clear().await.expect("could not clear the field");
        field
            .send_keys(text)
            .await
            .expect("could not type into the field");
    }
}
