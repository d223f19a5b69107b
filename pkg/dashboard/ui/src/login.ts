// The page after a login link. The secret stays where only pages of this port can read it.
const script = document.currentScript as HTMLScriptElement;
localStorage.setItem("nodecleanup-session", script.dataset.secret ?? "");
location.replace("/");
export {};
